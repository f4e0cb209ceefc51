use std::collections::BTreeMap;

use super::*;
use crate::app::Harness;
use crate::event::ToEvent;
use crate::testing::layout;

type Notes = Rc<RefCell<Vec<String>>>;

fn harness(app: App) -> Harness {
    Harness::new(app, layout(&[("manager", "manager")]), "manager").unwrap()
}

fn arrives(harness: &mut Harness, id: &str, value: impl Into<Value>) {
    let update = IdentifierUpdate { id: id.into(), value: value.into() };
    harness.receive("config", "somebody", &update.to_event().unwrap());
}

#[test]
fn a_value_is_published_by_name() {
    let values = SharedValues::new();
    let names = values.add("Demo::names", BTreeMap::from([("a".to_owned(), 1_u64)])).unwrap();
    let app = App::new().with(values).on_event("go", {
        let names = names.clone();
        move |_, context| {
            names.set([("b".to_owned(), 2)].into());
            names.publish_id("config", context)?;
            Ok(())
        }
    });
    let mut harness = harness(app);
    harness.receive("t", "somebody", &Event::new("go", vec![]));
    let published = harness.published();
    let table = Value::Table([("b".into(), 2_u64.into())].into());
    assert_eq!(published[0].topic, "config");
    let event = Event::new("Broker::identifier_update", vec!["Demo::names".into(), table.clone()]);
    assert_eq!(published[0].event, event);
    // Somebody else has received it.
    names.set(BTreeMap::new());
    arrives(&mut harness, "Demo::names", table);
    assert_eq!(names.get(), [("b".to_owned(), 2)].into());
}

#[test]
fn what_fits_is_taken_over_and_told() {
    let notes = Notes::default();
    let values = SharedValues::new();
    let (first, second) = (Rc::clone(&notes), Rc::clone(&notes));
    let value = values.add("Demo::value", 1_u64).unwrap();
    let handle = value.clone();
    let value = value
        .on_change(move |old, new, context| {
            first.borrow_mut().push(format!("first {old} {new} {}", handle.get()));
            // A handler may do anything with its own value.
            let later = Rc::clone(&first);
            let _ = handle.clone().on_change(move |_, new, _| {
                later.borrow_mut().push(format!("added {new}"));
                Ok(())
            });
            context.raise(&Event::new("raised", vec![]))?;
            Err("the others are told nevertheless".into())
        })
        .on_change(move |old, new, _| {
            second.borrow_mut().push(format!("second {old} {new}"));
            Ok(())
        });
    let raised = Rc::clone(&notes);
    let app = App::new().with(values.clone()).on_event("raised", move |_, _| {
        raised.borrow_mut().push("raised".into());
        Ok(())
    });
    let mut harness = harness(app);
    for (row, (id, sent, expected, told)) in [
        ("Demo::value", Value::Count(2), 2, &["first 1 2 2", "second 1 2", "raised"][..]),
        ("Demo::value", Value::Count(2), 2, &[]),
        ("Demo::value", Value::from("3"), 2, &[]),
        ("Demo::value", Value::None, 2, &[]),
        ("Demo::other", Value::Count(3), 2, &[]),
        ("", Value::Count(3), 2, &[]),
        ("Demo::value", Value::Count(4), 4, &["first 2 4 4", "second 2 4", "added 4", "raised"]),
    ]
    .into_iter()
    .enumerate()
    {
        arrives(&mut harness, id, sent);
        assert_eq!(
            (value.get(), notes.take().as_slice()),
            (expected, strings(told).as_slice()),
            "row {row}"
        );
    }
    assert_eq!(harness.misfits(), 0);
    // Added while the app runs.
    let late = values.add("Demo::late", false).unwrap();
    arrives(&mut harness, "Demo::late", true);
    assert!(late.get());
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn mistakes_are_named() {
    let values = SharedValues::new();
    values.add("Demo::value", 1_u64).unwrap();
    let error = values.add("Demo::value", "two".to_owned()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is a shared value 'Demo::value' already; clone its handle"
    );
    let error = values.add("Demo::wide", 1_i128).unwrap_err().to_string();
    assert!(error.starts_with("'Demo::wide' cannot be shared: "), "{error}");
}

#[test]
fn a_handler_that_panics_is_called_again() {
    let notes = Notes::default();
    let told = Rc::clone(&notes);
    let values = SharedValues::new();
    let value = values.add("Demo::value", 1_u64).unwrap().on_change(move |_, new, _| {
        told.borrow_mut().push(new.to_string());
        panic!("a mistake");
    });
    let mut harness = harness(App::new().with(values));
    arrives(&mut harness, "Demo::value", 2_u64);
    arrives(&mut harness, "Demo::value", 3_u64);
    assert_eq!((value.get(), notes.take()), (3, strings(&["2", "3"])));
}
