use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::*;
use crate::Value;
use crate::testing::{layout, layout_with};
use crate::value::Timestamp;

const NODES: &[(&str, &str)] =
    &[("manager", "manager"), ("proxy-1", "proxy"), ("proxy-2", "proxy")];

/// What handlers have noted.
type Notes = Rc<RefCell<Vec<String>>>;

fn harness(app: App, name: &str) -> Harness {
    Harness::new(app, layout(NODES), name).unwrap()
}

/// A handler that notes `what` and the arguments.
fn note(notes: &Notes, what: &str) -> impl FnMut(&Event, &mut Context<'_>) -> Outcome + 'static {
    let (notes, what) = (Rc::clone(notes), what.to_owned());
    move |event, _| {
        let args: Vec<_> = event.args.iter().filter_map(Value::as_str).collect();
        notes.borrow_mut().push(format!("{what}({})", args.join(",")));
        Ok(())
    }
}

fn event(name: &str) -> Event {
    Event::new(name, vec![])
}

#[test]
fn handlers_are_called_by_priority_then_in_order() {
    let notes = Notes::default();
    let app = App::new()
        .on_event("e", note(&notes, "first"))
        .on_event_with(-5, "e", note(&notes, "last"))
        .on_event_with(10, "e", note(&notes, "high"))
        .on_event("e", note(&notes, "second"))
        .on_event_with(10, "e", note(&notes, "high too"))
        .on_event("other", note(&notes, "other"));
    let mut harness = harness(app, "manager");
    harness.receive("t", "somebody", &event("e"));
    assert_eq!(*notes.borrow(), ["high()", "high too()", "first()", "second()", "last()"]);
}

#[test]
fn what_is_raised_follows_the_current_event() {
    let notes = Notes::default();
    let app = App::new()
        .on_event("a", |_, context| {
            context.raise(&event("b"))?;
            context.raise(&event("c"))?;
            Ok(())
        })
        .on_event("a", note(&notes, "a"))
        .on_event("b", |_, context| {
            context.raise(&event("d"))?;
            Ok(())
        })
        .on_event("b", note(&notes, "b"))
        .on_event("c", note(&notes, "c"))
        .on_event("d", note(&notes, "d"));
    harness(app, "manager").receive("t", "somebody", &event("a"));
    assert_eq!(*notes.borrow(), ["a()", "b()", "c()", "d()"]);
}

#[test]
fn the_app_begins_and_ends_and_hears_of_nodes() {
    let notes = Notes::default();
    let mut app = App::new().subscribe("demo.");
    for name in ["zeek_init", "zeek_done", "Cluster::node_up", "Cluster::node_down"] {
        app = app.on_event(name, note(&notes, name));
    }
    app = app.on_event("zeek_done", |_, context| {
        context.publish("demo.bye", &event("Demo::bye"))?;
        Ok(())
    });
    let mut harness = harness(app, "manager");
    assert_eq!(harness.subscriptions(), ["demo."]);
    harness.node_up("proxy-1", "p1");
    harness.node_down("proxy-1", "p1");
    let last = harness.stop();
    assert_eq!(last, [Published { topic: "demo.bye".into(), event: event("Demo::bye") }]);
    let expected = [
        "zeek_init()",
        "Cluster::node_up(proxy-1,p1)",
        "Cluster::node_down(proxy-1,p1)",
        "zeek_done()",
    ];
    assert_eq!(*notes.borrow(), expected);
}

#[test]
fn nobody_else_raises_the_events_of_the_app() {
    let notes = Notes::default();
    let names = [
        "zeek_done",
        "Cluster::node_up",
        "Cluster::node_down",
        "Cluster::Backend::ZeroMQ::subscription",
        "Cluster::Backend::ZeroMQ::unsubscription",
    ];
    let mut app = App::new();
    for name in names {
        app = app.on_event(name, note(&notes, name));
    }
    let mut harness = harness(app, "manager");
    for name in names {
        harness.receive("t", "stranger", &event(name));
    }
    assert_eq!(*notes.borrow(), [""; 0]);
}

#[test]
fn timers_fire_at_their_time_and_can_be_cancelled() {
    let notes = Notes::default();
    let timer: Rc<RefCell<Option<TimerId>>> = Rc::default();
    let (set, cancel) = (Rc::clone(&timer), Rc::clone(&timer));
    let second = Duration::from_secs(1);
    let app = App::new()
        .on_event("zeek_init", move |_, context| {
            context.schedule(second * 3, &event("late"))?;
            context.schedule(second, &event("tick"))?;
            *set.borrow_mut() = Some(context.schedule(second * 3, &event("never"))?);
            Ok(())
        })
        .on_event("tick", note(&notes, "tick"))
        .on_event("tick", move |_, context| {
            context.schedule(second, &event("tick"))?;
            if let Some(timer) = cancel.borrow_mut().take() {
                assert!(context.cancel(timer));
                assert!(!context.cancel(timer));
            }
            Ok(())
        })
        .on_event("late", note(&notes, "late"))
        .on_event("never", note(&notes, "never"));
    let mut harness = harness(app, "manager");
    harness.advance(Duration::from_millis(999));
    assert_eq!(*notes.borrow(), [""; 0]);
    harness.advance(Duration::from_millis(1));
    assert_eq!(*notes.borrow(), ["tick()"]);
    harness.advance(second * 2);
    assert_eq!(*notes.borrow(), ["tick()", "tick()", "late()", "tick()"]);
}

#[test]
fn raised_events_are_published_where_that_is_wanted() {
    let app = App::new()
        .auto_publish("demo.a", "Demo::e")
        .on_event("start", |_, context| {
            context.auto_publish("demo.b", "Demo::e");
            context.auto_publish("demo.b", "Demo::e");
            context.raise(&event("Demo::e"))?;
            Ok(())
        })
        .on_event("end", |_, context| {
            assert!(context.auto_unpublish(b"demo.a", b"Demo::e"));
            assert!(!context.auto_unpublish(b"demo.a", b"Demo::e"));
            context.raise(&event("Demo::e"))?;
            Ok(())
        });
    let mut harness = harness(app, "manager");
    let topics = |harness: &mut Harness| -> Vec<BString> {
        harness.published().into_iter().map(|published| published.topic).collect()
    };
    harness.receive("t", "somebody", &event("start"));
    assert_eq!(topics(&mut harness), ["demo.a", "demo.b"]);
    harness.receive("t", "somebody", &event("Demo::e"));
    assert_eq!(topics(&mut harness), [""; 0], "what others publish is not repeated");
    harness.receive("t", "somebody", &event("end"));
    assert_eq!(topics(&mut harness), ["demo.b"]);
}

#[test]
fn pools_choose_and_the_own_node_needs_no_bus() {
    let notes = Notes::default();
    let app = App::new()
        .on_event("rr", |_, context| {
            assert!(context.publish_rr("zeek.cluster.pool.proxy", b"", &event("work"))?);
            Ok(())
        })
        .on_event("hrw", |_, context| {
            context.publish_hrw("zeek.cluster.pool.proxy", b"key", &event("work"))?;
            Ok(())
        })
        .on_event("work", note(&notes, "work"));
    let mut harness = harness(app, "proxy-1");
    harness.receive("t", "somebody", &event("hrw"));
    assert_eq!(harness.published(), [], "nobody is there");
    harness.node_up("proxy-2", "p2");
    for _ in 0..4 {
        harness.receive("t", "somebody", &event("rr"));
    }
    let topics: Vec<BString> = harness.published().into_iter().map(|p| p.topic).collect();
    assert_eq!(topics, ["zeek.cluster.node.proxy-2."; 2]);
    assert_eq!(*notes.borrow(), ["work()"; 2]);
    harness.receive("t", "somebody", &event("hrw"));
    assert_eq!(harness.published()[0].topic, "zeek.cluster.node.proxy-2.");
}

#[test]
fn hooks_follow_the_subscriptions_of_the_app() {
    let notes = Notes::default();
    let (subscribed, unsubscribed) = (Rc::clone(&notes), Rc::clone(&notes));
    let app = App::new()
        .subscribe("a.")
        .on_subscribe(move |prefix, _| {
            subscribed.borrow_mut().push(format!("+{prefix}"));
            Ok(())
        })
        .on_unsubscribe(move |prefix, _| {
            unsubscribed.borrow_mut().push(format!("-{prefix}"));
            Ok(())
        })
        .on_event("change", |_, context| {
            context.unsubscribe("a.")?;
            context.subscribe("b.")?;
            Ok(())
        });
    let mut harness = harness(app, "manager");
    harness.receive("t", "somebody", &event("change"));
    assert_eq!(*notes.borrow(), ["+a.", "-a.", "+b."]);
    assert_eq!(harness.subscriptions(), ["b."]);
}

#[test]
fn a_handler_that_fails_or_panics_stops_nothing() {
    let notes = Notes::default();
    let app = App::new()
        .on_event_with(2, "e", |_, _| panic!("a mistake"))
        .on_event_with(1, "e", |_, _| Err("no luck".into()))
        .on_event("e", note(&notes, "e"));
    let mut harness = harness(app, "manager");
    harness.receive("t", "somebody", &event("e"));
    harness.receive("t", "somebody", &event("e"));
    assert_eq!(*notes.borrow(), ["e()", "e()"]);
}

#[test]
fn events_have_the_time_of_the_event_before_them_if_wanted() {
    let handler = |_: &Event, context: &mut Context<'_>| -> Outcome {
        context.publish("t", &event("after"))?;
        Ok(())
    };
    let time = Timestamp::from_secs_f64(1.5);
    for (on, expected) in [(false, None), (true, Some(time))] {
        let app = App::new().add_network_timestamps(on).on_event("before", handler);
        let mut harness = harness(app, "manager");
        harness.receive("t", "somebody", &event("before").with_network_timestamp(time));
        assert_eq!(harness.published()[0].event.network_timestamp(), expected);
        harness.receive("t", "somebody", &event("before"));
        assert_eq!(harness.published()[0].event.network_timestamp().is_some(), on);
    }
}

#[test]
fn an_app_ends_when_it_is_told_or_its_work_is_done() {
    let app = App::new().on_event("enough", |_, context| {
        context.stop();
        Ok(())
    });
    let mut running = harness(app, "manager");
    assert!(!running.is_done());
    running.receive("t", "somebody", &event("enough"));
    assert!(running.is_done());

    let app = App::new().peer_counts_as_iosource(false).on_event("zeek_init", |_, context| {
        context.schedule(Duration::from_secs(1), &event("the work"))?;
        Ok(())
    });
    let mut busy = harness(app, "manager");
    assert!(!busy.is_done());
    busy.advance(Duration::from_secs(1));
    assert!(busy.is_done());
}

#[test]
fn handlers_know_where_an_event_is_from() {
    let notes = Notes::default();
    let seen = Rc::clone(&notes);
    let app = App::new().on_event("e", move |_, context| {
        let origin = context.origin().map(|o| format!("{} {}", o.topic, o.sender));
        seen.borrow_mut().push(origin.unwrap_or_else(|| "here".into()));
        if context.origin().is_some() {
            context.raise(&event("e"))?;
        }
        Ok(())
    });
    harness(app, "manager").receive("topic", "somebody", &event("e"));
    assert_eq!(*notes.borrow(), ["topic somebody", "here"]);
}

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "Demo::ping")]
struct Ping {
    number: u64,
}

#[test]
fn typed_events_are_handled_if_they_fit() {
    let notes = Notes::default();
    let seen = Rc::clone(&notes);
    let app = App::new()
        .on::<Ping>(move |ping, context| {
            seen.borrow_mut().push(format!("{}", ping.number));
            if ping.number > 0 {
                context.publish("demo.pong", &ping)?;
                context.raise(&Ping { number: ping.number - 1 })?;
            }
            Ok(())
        })
        .on_event("Demo::ping", note(&notes, "any"));
    let mut harness = harness(app, "manager");
    harness.receive("t", "somebody", &Event::new("Demo::ping", vec![Value::Count(1)]));
    assert_eq!(*notes.borrow(), ["1", "any()", "0", "any()"]);
    let expected = Event::new("Demo::ping", vec![Value::Count(1)]);
    assert_eq!(harness.published(), [Published { topic: "demo.pong".into(), event: expected }]);
    assert_eq!(harness.misfits(), 0);
    harness.receive("t", "somebody", &Event::new("Demo::ping", vec!["one".into()]));
    assert_eq!(harness.misfits(), 1);
    assert_eq!(notes.borrow().len(), 5, "only the handler of any event is called");
}

#[test]
fn functions_can_be_called_later_without_keeping_the_app_running() {
    let app = App::new().peer_counts_as_iosource(false).on_event("zeek_init", |_, context| {
        context.call_after(Duration::from_secs(2), |context| {
            context.publish("t", &event("called"))?;
            Ok(())
        });
        let cancelled = context.call_after(Duration::from_secs(1), |_| panic!("cancelled"));
        assert!(context.cancel(cancelled));
        context.schedule(Duration::from_secs(3), &event("scheduled"))?;
        Ok(())
    });
    let mut harness = harness(app, "manager");
    harness.advance(Duration::from_secs(1));
    assert_eq!(harness.published(), []);
    harness.advance(Duration::from_secs(1));
    assert_eq!(harness.published()[0].event, event("called"));
    assert!(!harness.is_done());
    harness.advance(Duration::from_secs(1));
    assert!(harness.is_done());
}

#[test]
fn modules_bring_handlers_events_of_their_own_and_know_the_time() {
    struct Watch(&'static str);
    impl Module for Watch {
        fn install(self, app: App) -> App {
            let clock = app.clock().clone();
            app.own_event(self.0).on_event(self.0, move |_, context| {
                assert_eq!(clock.time(), context.time());
                context.publish("t", &Event::new("time", vec![clock.time().into()]))?;
                Ok(())
            })
        }
    }
    let app = App::new().with(Watch("own")).with(|app: App| {
        app.on_event("e", |_, context| {
            context.schedule(Duration::from_secs(1), &event("own"))?;
            Ok(())
        })
    });
    let mut harness = harness(app, "manager");
    harness.set_time(Timestamp::from_secs_f64(10.0));
    harness.receive("t", "somebody", &event("own"));
    assert_eq!(harness.published(), []);
    harness.receive("t", "somebody", &event("e"));
    harness.advance(Duration::from_secs(1));
    let time = Timestamp::from_secs_f64(11.0);
    assert_eq!(harness.published()[0].event, Event::new("time", vec![time.into()]));
}

#[test]
fn what_does_not_fit_but_was_raised_here_is_not_the_senders_fault() {
    let app = App::new().on::<Ping>(|_, _| Ok(())).on_event("other", |_, context| {
        context.raise(&Event::new("Demo::ping", vec!["local".into()]))?;
        Ok(())
    });
    let mut harness = harness(app, "manager");
    harness.receive("t", "somebody", &event("other"));
    harness.receive("t", "somebody", &event("other"));
    assert_eq!(harness.misfits(), 0);
}

#[test]
fn an_app_keeps_to_the_topics_that_it_is_allowed() {
    let rules = "[cluster]\nauto_publish_topics = false\nauto_advertise_topics = false\n\
                 publish_topics = [\"a\"]\nadvertise_topics = [\"a\"]\n";
    let layout = layout_with(rules, NODES);
    let app = App::new().subscribe("a.").subscribe("b.").on_event("e", |_, context| {
        context.publish("a", &event("a"))?;
        assert!(context.publish("b", &event("b")).is_err());
        assert!(context.publish_topic("b") && context.advertise_topic("b")?);
        context.publish("b", &event("b"))?;
        assert!(context.unpublish_topic("b"));
        assert!(context.publish("b", &event("b")).is_err());
        assert!(context.unadvertise_topic("a")? && !context.unadvertise_topic("a")?);
        context.publish("a", &event("end"))?;
        Ok(())
    });
    let mut harness = Harness::new(app, layout, "manager").unwrap();
    assert_eq!(harness.subscriptions(), ["a."]);
    harness.receive("t", "somebody", &event("e"));
    let published: Vec<_> = harness.published().into_iter().map(|p| p.event.name).collect();
    assert_eq!(published, ["a", "b", "end"]);
    assert_eq!(harness.subscriptions(), ["b."]);
}

#[test]
fn a_handler_of_any_event_comes_last_and_misses_nothing() {
    let notes = Notes::default();
    let all = Rc::clone(&notes);
    let app = App::new()
        .on_any(move |event, context| {
            let from = context.origin().map_or("here", |_| "bus");
            all.borrow_mut().push(format!("any: {} {from}", event.name));
            Ok(())
        })
        .on_event_with(-10, "e", note(&notes, "e"))
        .on::<NodeUp>(|node, context| {
            assert_eq!((node.name.as_str(), node.id), ("proxy-1", "p1".into()));
            context.raise(&event("raised"))?;
            Ok(())
        });
    let mut harness = harness(app, "manager");
    harness.receive("t", "somebody", &event("e"));
    harness.node_up("proxy-1", "p1");
    let expected = [
        "any: zeek_init here",
        "e()",
        "any: e bus",
        "any: Cluster::node_up here",
        "any: raised here",
    ];
    assert_eq!(*notes.borrow(), expected);
}

#[test]
fn handlers_that_raise_for_ever_stop_nothing() {
    let app = App::new()
        .on_event("again", |_, context| {
            context.raise(&event("again"))?;
            Ok(())
        })
        .on_event("soon", |_, context| {
            context.schedule(Duration::ZERO, &event("soon"))?;
            Ok(())
        })
        .on_event("end", |_, context| {
            context.stop();
            Ok(())
        });
    let mut harness = harness(app, "manager");
    for name in ["again", "soon"] {
        harness.receive("t", "somebody", &event(name));
        assert!(!harness.is_done());
    }
    harness.receive("t", "somebody", &event("end"));
    assert!(harness.is_done());
}

#[test]
fn times_that_never_come_are_no_panic() {
    let app = App::new().on_event("e", |_, context| {
        context.schedule(Duration::MAX, &event("never"))?;
        context.call_after(Duration::MAX, |_| panic!("never"));
        context.publish("t", &event("went on"))?;
        Ok(())
    });
    let mut harness = harness(app, "manager");
    harness.receive("t", "somebody", &event("e"));
    assert_eq!(harness.published()[0].event, event("went on"));
}

#[test]
fn an_event_that_a_node_sends_itself_is_as_if_published() {
    let notes = Notes::default();
    let time = Timestamp::from_secs_f64(1.5);
    let seen = Rc::clone(&notes);
    let app = App::new()
        .add_network_timestamps(true)
        .auto_publish("auto", "work")
        .on_event("go", |_, context| {
            assert!(context.publish_rr("zeek.cluster.pool.proxy", b"", &event("work"))?);
            Ok(())
        })
        .on_event("work", move |event, _| {
            seen.borrow_mut().push(format!("{:?}", event.network_timestamp()));
            Ok(())
        });
    let mut harness = harness(app, "proxy-1");
    harness.receive("t", "somebody", &event("go").with_network_timestamp(time));
    assert_eq!(*notes.borrow(), [format!("{:?}", Some(time))]);
    assert_eq!(harness.published(), []);
}
