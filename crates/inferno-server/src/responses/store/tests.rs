use serde_json::json;

use super::*;

fn item(id: &str, n_bytes: usize) -> Arc<Value> {
    Arc::new(json!({ "id": id, "text": "x".repeat(n_bytes) }))
}

fn kept(items: Vec<Arc<Value>>, n_past: usize) -> Kept {
    let n_input = items.len() - n_past;
    Kept { tenant: 1, body: Bytes::from_static(b"{}"), items, n_past, n_input, log: None, state: State::Done }
}

#[test]
fn the_oldest_goes_first_and_takes_its_items_along() {
    let store = Store::new(2, 1 << 20);
    for id in ["a", "b", "c"] {
        store.keep(id, kept(vec![item(&format!("{id}-item"), 1)], 0));
    }
    assert!(store.body(1, "a").is_none() && store.item(1, "a-item").is_none());
    assert!(store.body(1, "b").is_some() && store.item(1, "b-item").is_some());
    assert!(store.delete(1, "b") && !store.delete(1, "b"));
    assert_eq!(store.used().0, 1);
    assert!(store.delete(1, "c"));
    assert_eq!(store.used(), (0, 0));
}

#[test]
fn bytes_are_bounded_and_what_cannot_fit_is_not_kept() {
    let store = Store::new(100, 10_000);
    for i in 0..20 {
        store.keep(&format!("{i}"), kept(vec![item("x", 1000)], 0));
        assert!(store.used().1 <= 10_000);
    }
    assert!(store.used().0 >= 4 && store.body(1, "19").is_some() && store.body(1, "0").is_none());
    store.keep("large", kept(vec![item("y", 20_000)], 0));
    assert!(store.body(1, "large").is_none() && store.body(1, "19").is_some());
    let none = Store::new(0, 10_000);
    none.keep("a", kept(vec![], 0));
    assert!(none.body(1, "a").is_none());
}

#[test]
fn a_response_is_its_own_keys_and_an_item_that_came_twice_is_the_later_ones() {
    let store = Store::new(10, 1 << 20);
    let first = item("same", 1);
    store.keep("a", kept(vec![Arc::clone(&first)], 0));
    store.keep("b", kept(vec![first, item("same", 2)], 1));
    assert!(store.body(2, "a").is_none() && store.item(2, "same").is_none() && !store.delete(2, "a"));
    assert_eq!(store.item(1, "same"), Some(item("same", 2)));
    assert!(store.delete(1, "a"));
    store.keep("c", Kept { tenant: 2, ..kept(vec![item("same", 3)], 0) });
    assert_eq!(store.item(1, "same"), Some(item("same", 2)));
    assert_eq!(store.input(1, "b").unwrap(), [item("same", 2)]);
    assert_eq!(store.conversation(1, "b").unwrap().0.len(), 2);
}

#[test]
fn a_response_of_the_background_ends_once() {
    let store = Store::new(10, 1 << 20);
    let status = |status: &'static str| move |body: &mut Value| body["status"] = status.into();
    let start = |id: &str| {
        store.keep(id, Kept { state: State::Running(Arc::default()), ..kept(vec![item(id, 1)], 0) });
    };
    start("a");
    assert!(!store.conversation(1, "a").unwrap().1);
    let cancelled = Bytes::from_static(b"{\"status\":\"cancelled\"}");
    assert_eq!(store.cancel(2, "a", status("x")), Cancelled::Unknown);
    assert_eq!(store.cancel(1, "a", status("cancelled")), Cancelled::Body(cancelled.clone()));
    // It is too late for an output, and for another reason.
    store.finish("a", Kept { state: State::BackgroundDone, ..kept(vec![], 0) });
    store.give_up("a", status("failed"));
    assert_eq!(store.cancel(1, "a", status("x")), Cancelled::Body(cancelled));
    start("b");
    store.finish("b", Kept { state: State::BackgroundDone, ..kept(vec![], 0) });
    assert_eq!(store.cancel(1, "b", status("x")), Cancelled::Body(Bytes::from_static(b"{}")));
    // What was deleted does not come back.
    start("c");
    assert!(store.delete(1, "c"));
    store.finish("c", kept(vec![], 0));
    assert!(store.body(1, "c").is_none());
    store.keep("d", kept(vec![], 0));
    assert_eq!(store.cancel(1, "d", status("x")), Cancelled::Foreground);
    for id in ["a", "b", "d"] {
        assert!(store.delete(1, id));
    }
    assert_eq!(store.used(), (0, 0));
}

#[test]
fn saved_responses_are_the_same_in_another_process() {
    use crate::Settings;
    use crate::keys::Keyring;
    use crate::keys::tests::named;
    let settings = |keys| Settings { keys, ..Settings::default() };
    let user = |name: &str| named(&format!("sk-{name}"), name, crate::Role::User);
    let keyring = Keyring::new(&settings(vec![user("ann"), user("dan")]));
    let store = Store::new(10, 1 << 20);
    let dan = keyring.tenant_of(Some("dan"));
    let of = |tenant: u32, items| Kept { tenant, ..kept(items, 0) };
    store.keep("a", of(0, vec![item("x", 1)]));
    store
        .keep("b", Kept { n_past: 1, n_input: 1, ..of(dan, vec![item("x", 1), item("y", 2), item("z", 3)]) });
    store.keep("c", Kept { state: State::Unfinished, ..of(dan, vec![]) });
    store.keep("d", Kept { state: State::Running(Arc::default()), ..of(dan, vec![]) });
    // No key has the number 99.
    store.keep("e", of(99, vec![]));
    let mut file = Vec::new();
    assert_eq!(store.save(&keyring, &mut file).unwrap(), 3);
    let other = Keyring::new(&settings(vec![user("dan")]));
    let loaded = Store::new(10, 1 << 20);
    assert_eq!(loaded.load(&other, &file[..]).unwrap(), 3);
    let tenant = other.tenant_of(Some("dan"));
    assert_eq!(loaded.conversation(0, "a"), store.conversation(0, "a"));
    assert_eq!(loaded.conversation(tenant, "b"), store.conversation(dan, "b"));
    assert_eq!(loaded.input(tenant, "b"), store.input(dan, "b"));
    assert_eq!(loaded.conversation(tenant, "c").unwrap(), (vec![], false));
    assert!(loaded.body(tenant, "d").is_none() && loaded.item(tenant, "z").is_some());
    for wrong in ["{}", "[1]", "x"] {
        let error = loaded.load(&other, [&file[..], wrong.as_bytes()].concat().as_slice()).unwrap_err();
        assert!(error.to_string().starts_with("line 4: "), "{error}");
    }
}
