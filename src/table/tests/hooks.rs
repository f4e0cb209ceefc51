//! Functions of the user.

use super::*;

type Notes = Rc<RefCell<Vec<String>>>;

fn note(changed: &Changed<'_, String, u64>) -> String {
    let change = match changed.change {
        Change::New => "new",
        Change::Changed => "changed",
        Change::Removed => "removed",
        Change::Expired => "expired",
    };
    let previous = changed.previous.map_or(String::new(), |previous| format!("<{previous}"));
    let from = if changed.is_remote { " by another" } else { "" };
    format!("{change} {}={}{previous}{from}", changed.key, changed.value)
}

fn noting(table: &Table<String, u64>) -> Notes {
    let notes = Notes::default();
    let to = Rc::clone(&notes);
    table.on_change(move |_, changed, _| {
        to.borrow_mut().push(note(changed));
        Ok(())
    });
    notes
}

fn table(tables: &Tables) -> Table<String, u64> {
    let options = Options::new().publish_on_change(ALL).max_batch_size(0);
    tables.table("Demo::t", options).unwrap()
}

#[test]
fn hooks_are_told_of_all_changes() {
    let tables = Tables::new();
    let table = table(&tables);
    let notes = noting(&table);
    let mut node = Node::new(&tables);
    node.act(move |context| {
        table.insert("a".into(), 1, context).unwrap();
        table.insert("a".into(), 2, context).unwrap();
        table.remove("a", context).unwrap();
        table.remove("a", context).unwrap();
    });
    // Whatever others call it, it is new if it was not there.
    node.receive("Demo::t", &[of(Change::Changed, "b", 1_u64), of(Change::New, "b", 2_u64)]);
    node.receive("Demo::t", &[of(Change::Expired, "b", 7_u64), of(Change::Removed, "b", 7_u64)]);
    let expected = [
        "new a=1",
        "changed a=2<1",
        "removed a=2",
        "new b=1 by another",
        "changed b=2<1 by another",
        "expired b=2 by another",
    ];
    assert_eq!(*notes.borrow(), expected);
}

#[test]
fn hooks_are_not_told_of_what_hooks_change() {
    let tables = Tables::new();
    let table = table(&tables);
    let notes = noting(&table);
    table.on_change(|table, changed, context| {
        table.insert(format!("{}'", changed.key), 0, context)?;
        Ok(())
    });
    let mut node = Node::new(&tables);
    let changed = table.clone();
    node.act(move |context| changed.insert("a".into(), 1, context)).unwrap();
    assert_eq!(*notes.borrow(), ["new a=1"]);
    assert_eq!(node.changes(), ["+a=1", "+a'=0"], "in this order");
    // After a change of another node they stay here.
    node.receive("Demo::t", &[of(Change::New, "b", 1_u64)]);
    assert_eq!(node.changes(), [""; 0]);
    assert_eq!(table.len(), 4);
    let changed = table.clone();
    node.act(move |context| changed.insert("c".into(), 1, context)).unwrap();
    assert_eq!(node.changes(), ["+c=1", "+c'=0"]);
}

#[test]
fn hooks_that_fail_or_panic_stop_nothing() {
    let tables = Tables::new();
    let table = table(&tables);
    table.on_change(|_, _, _| panic!("a mistake"));
    table.on_change(|_, _, _| Err("no luck".into()));
    let notes = noting(&table);
    // One that adds another.
    let to = Rc::clone(&notes);
    table.on_change(move |table, changed, _| {
        if changed.key == "a" {
            let to = Rc::clone(&to);
            table.on_change(move |_, changed, _| {
                to.borrow_mut().push(format!("added: {}", note(changed)));
                Ok(())
            });
        }
        Ok(())
    });
    let mut node = Node::new(&tables);
    node.receive("Demo::t", &[of(Change::New, "a", 1_u64), of(Change::New, "b", 2_u64)]);
    let expected = ["new a=1 by another", "new b=2 by another", "added: new b=2 by another"];
    assert_eq!(*notes.borrow(), expected);
}

#[test]
fn policies_may_change_or_refuse() {
    let tables = Tables::new();
    let table = table(&tables);
    let asked = Notes::default();
    let notes = Rc::clone(&asked);
    tables.apply_policy(move |header, infos, _| {
        notes.borrow_mut().push(format!("{} {}", header.id, infos.len()));
        infos.retain(|info| info.index != ["bad".into()]);
        assert_ne!(infos.len(), 0, "a mistake");
        infos.len() != 3
    });
    let later = Rc::clone(&asked);
    tables.apply_policy(move |_, infos, _| {
        later.borrow_mut().push(format!("then {}", infos.len()));
        true
    });
    let mut node = Node::new(&tables);
    let new = |key| of(Change::New, key, 1_u64);
    node.receive("Demo::t", &[new("bad"), new("a")]);
    node.receive("Demo::t", &[new("b"), new("c"), new("d")]);
    node.receive("Demo::t", &[new("bad")]);
    node.receive("Demo::t", &[new("e")]);
    assert_eq!(content(&table), [("a".into(), 1), ("e".into(), 1)]);
    let expected = ["Demo::t 2", "then 1", "Demo::t 3", "Demo::t 1", "Demo::t 1", "then 1"];
    assert_eq!(*asked.borrow(), expected);
}
