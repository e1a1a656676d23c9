//! Items of a request as a list in pages.

use std::sync::Arc;

use hyper::Uri;
use serde_json::{Value, json};

use crate::error::{ApiError, shown};
use crate::query;

/// Items of a page without `limit`, and at most.
const DEFAULT_LIMIT: usize = 20;
const MOST: usize = 100;

/// The page that the query of `uri` asks for: `limit` items (20), the latest first unless `order` is `asc`, behind the item
/// with the id `after`.
///
/// # Errors
/// 400: a parameter has a value that is not allowed.
pub(super) fn page(items: &[Arc<Value>], uri: &Uri) -> Result<Value, ApiError> {
    let limit = match query::parameter(uri, "limit") {
        None => DEFAULT_LIMIT,
        Some(text) => match text.parse::<usize>().ok().filter(|n| (1..=MOST).contains(n)) {
            Some(limit) => limit,
            None => return Err(expected("limit", &text, &format!("an integer from 1 to {MOST}"))),
        },
    };
    let mut items: Vec<Value> = items.iter().map(|item| listed(item)).collect();
    match query::parameter(uri, "order").as_deref() {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(other) => return Err(expected("order", other, "`asc` or `desc`")),
    }
    if let Some(after) = query::parameter(uri, "after") {
        let Some(place) = items.iter().position(|item| item["id"] == *after) else {
            return Err(expected("after", &after, "the id of one of the items"));
        };
        items.drain(..=place);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    Ok(json!({
        "object": "list",
        "first_id": id(items.first()),
        "last_id": id(items.last()),
        "has_more": has_more,
        "data": items,
    }))
}

/// The item with all members that lists have.
fn listed(item: &Value) -> Value {
    let mut item = item.clone();
    let is_message = item["type"].is_null() || item["type"] == "message";
    if let Some(members) = item.as_object_mut().filter(|_| is_message) {
        members.insert("type".into(), "message".into());
        members.entry("status").or_insert_with(|| "completed".into());
        let is_output = members.get("role").is_some_and(|role| role == "assistant");
        if let Some(Value::String(text)) = members.get("content") {
            let part = match is_output {
                true => json!({ "type": "output_text", "text": text, "annotations": [] }),
                false => json!({ "type": "input_text", "text": text }),
            };
            members.insert("content".into(), json!([part]));
        }
    }
    item
}

fn expected(name: &str, found: &str, expected: &str) -> ApiError {
    ApiError::invalid(name, format!("`{name}` is `{}`, expected {expected}", shown(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_in_both_orders() {
        let items: Vec<Arc<Value>> = (0..5)
            .map(|i| Arc::new(json!({ "id": format!("m{i}"), "role": "user", "content": "x" })))
            .collect();
        let ids = |query: &str| -> (Vec<String>, bool) {
            let page = page(&items, &format!("/x?{query}").parse().unwrap()).unwrap();
            let data = page["data"].as_array().unwrap();
            assert_eq!((&page["first_id"], &page["last_id"]), (&data[0]["id"], &data[data.len() - 1]["id"]));
            let ids = data.iter().map(|item| item["id"].as_str().unwrap().to_owned());
            (ids.collect(), page["has_more"] == true)
        };
        assert_eq!(ids("").0, ["m4", "m3", "m2", "m1", "m0"]);
        assert_eq!(ids("limit=2"), (vec!["m4".into(), "m3".into()], true));
        assert_eq!(ids("order=asc&limit=2&after=m1"), (vec!["m2".into(), "m3".into()], true));
        assert_eq!(ids("order=asc&limit=2&after=m2"), (vec!["m3".into(), "m4".into()], false));
        for (query, param) in
            [("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=q", "after")]
        {
            let error = page(&items, &format!("/x?{query}").parse().unwrap()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param));
        }
        let first = &page(&items, &"/x".parse().unwrap()).unwrap()["data"][0];
        assert_eq!((&first["type"], &first["content"][0]["type"]), (&json!("message"), &json!("input_text")));
    }
}
