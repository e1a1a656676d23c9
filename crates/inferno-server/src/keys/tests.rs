use super::*;

/// A key without limits of its own.
pub(crate) fn named(secret: &str, name: &str, role: Role) -> Key {
    Key { secret: secret.into(), name: name.into(), is_named: true, role, limits: None }
}

#[test]
fn a_line_of_a_key_file_says_who_and_how_much() {
    let key = |line: &str| super::key(line, 3);
    let plain = key("sk-1").unwrap();
    assert_eq!((plain.name.as_str(), plain.is_named, plain.role), ("key-3", false, Role::User));
    assert_eq!(plain.limits, None);
    let full = key("sk-2 name=ann admin concurrent=2 requests-per-minute=60 tokens-per-minute=1000").unwrap();
    assert!(full.role == Role::Admin && full.name == "ann" && full.is_named);
    let expected = KeyLimits { concurrent: Some(2), requests: Some(60), tokens: Some(1000) };
    assert_eq!(full.limits, Some(expected));
    assert_eq!(key("sk-4 scrape name=prometheus").unwrap().role, Role::Scrape);
    for bad in [
        "sk-3 rpm=4",
        "sk-3 concurrent=0",
        "sk-3 name=",
        "sk-3 admin=yes",
        "sk-3 admin scrape",
        "sk-3 scrape concurrent=2",
    ] {
        let reason = key(bad).unwrap_err();
        assert!(!reason.contains("sk-3"), "{reason}");
    }
    assert!(!format!("{full:?}").contains("sk-2"));
}

#[test]
fn keys_of_one_name_have_one_set_of_limits() {
    let keys = |second: &str| [key("sk-1 name=ann concurrent=2", 1), key(second, 2)].map(Result::unwrap);
    assert!(check_keys(&keys("sk-2 name=ann concurrent=2 admin")).is_ok());
    assert!(check_keys(&keys("sk-2 name=ann concurrent=3")).is_err());
    assert!(check_keys(&keys("sk-2 name=bob concurrent=3")).is_ok());
    assert!(check_keys(&keys("sk-1 name=bob")).is_err());
}
