//! Commands in flight, from handlers of a node.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use zcluster::app::{App, Context};
use zcluster::store::StoreError;

use crate::node::{Texts, numbers};
use crate::plan::{KEYS, Kind, VALUE_SIZE};

/// The key with that number, as `redis-benchmark` has them: 16 bytes.
pub(crate) fn key(number: u64) -> String {
    format!("key:{number:012}")
}

/// Random enough, and cheap.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Random(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    /// A number below that one.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Puts, each followed by another one once it is answered.
#[derive(Debug)]
struct Puts {
    /// What was ordered.
    order: &'static str,
    store: Texts,
    value: String,
    next: Next,
    end: End,
    start: Instant,
    in_flight: u64,
    begun: u64,
    done: u64,
}

/// Which key is next.
#[derive(Debug)]
enum Next {
    InOrder(u64),
    Random(Random),
}

#[derive(Debug)]
enum End {
    At(Instant),
    After(u64),
}

impl Puts {
    /// Begins with that many in flight.
    fn begin_all(order: &'static str, store: &Texts, in_flight: u64, next: Next, end: End) {
        let (store, value) = (store.clone(), "x".repeat(VALUE_SIZE));
        let start = Instant::now();
        let puts = Puts { order, store, value, next, end, start, in_flight: 0, begun: 0, done: 0 };
        let puts = Rc::new(RefCell::new(puts));
        for _ in 0..in_flight {
            Self::begin(&puts);
        }
    }

    fn begin(this: &Rc<RefCell<Self>>) {
        let puts = &mut *this.borrow_mut();
        let is_over = match puts.end {
            End::At(at) => Instant::now() >= at,
            End::After(count) => puts.begun >= count,
        };
        if is_over {
            return;
        }
        let number = match &mut puts.next {
            Next::Random(random) => random.below(KEYS),
            Next::InOrder(next) => {
                *next += 1;
                *next - 1
            }
        };
        puts.begun += 1;
        puts.in_flight += 1;
        let again = Rc::clone(this);
        puts.store.put(&key(number), &puts.value).then(move |result, _| {
            Self::ended(&again, result);
            Ok(())
        });
    }

    fn ended(this: &Rc<RefCell<Self>>, result: Result<(), StoreError>) {
        result.unwrap_or_else(|error| panic!("a put has failed: {error}"));
        {
            let puts = &mut *this.borrow_mut();
            puts.in_flight -= 1;
            puts.done += 1;
        }
        Self::begin(this);
        let puts = this.borrow();
        if puts.in_flight == 0 {
            let seconds = puts.start.elapsed().as_secs_f64();
            println!("{}", json!({puts.order: {"done": puts.done, "seconds": seconds}}));
        }
    }
}

/// Adds to an app what it may be told: `puts` to a kind of store, so many in flight, for so many milliseconds; `fill` with so
/// many entries; `mutate` so many times per second among so many keys, from then on; `mutated`, how often that has been.
pub(crate) fn orders(app: App, stores: &BTreeMap<&'static str, Texts>) -> App {
    let (all, memory) = (stores.clone(), stores[Kind::Memory.name()].clone());
    let mutated = Rc::new(RefCell::new(0_u64));
    let (filled, count) = (memory.clone(), Rc::clone(&mutated));
    app.on_event("puts", move |event, _| {
        let [kind, in_flight, millis] = numbers(event)[..] else { return Err("numbers".into()) };
        let store = &all[Kind::ALL[kind as usize].name()];
        let end = End::At(Instant::now() + Duration::from_millis(millis));
        Puts::begin_all("puts", store, in_flight, Next::Random(Random::default()), end);
        Ok(())
    })
    .on_event("fill", move |event, _| {
        let end = End::After(numbers(event)[0]);
        Puts::begin_all("fill", &filled, 1_000, Next::InOrder(0), end);
        Ok(())
    })
    .on_event("mutate", move |event, context| {
        let [rate, keys] = numbers(event)[..] else { return Err("numbers".into()) };
        let (store, value) = (memory.clone(), "y".repeat(VALUE_SIZE));
        let (random, start) = (Random::default(), Instant::now());
        let mutated = Rc::clone(&mutated);
        Mutations { store, value, random, rate, keys, start, begun: 0, mutated }.go_on(context);
        Ok(())
    })
    .on_event("mutated", move |_, _| {
        println!("{}", json!({"mutated": *count.borrow()}));
        Ok(())
    })
}

/// Puts at a steady rate.
struct Mutations {
    store: Texts,
    value: String,
    random: Random,
    rate: u64,
    keys: u64,
    start: Instant,
    begun: u64,
    /// How many were answered.
    mutated: Rc<RefCell<u64>>,
}

impl Mutations {
    fn go_on(mut self, context: &mut Context<'_>) {
        let due = (self.start.elapsed().as_secs_f64() * self.rate as f64) as u64;
        while self.begun < due {
            self.begun += 1;
            let mutated = Rc::clone(&self.mutated);
            let number = self.random.below(self.keys);
            self.store.put(&key(number), &self.value).then(move |result, _| {
                result?;
                *mutated.borrow_mut() += 1;
                Ok(())
            });
        }
        context.call_after(Duration::from_millis(1), |context| {
            self.go_on(context);
            Ok(())
        });
    }
}
