//! What devices send: rows that are made before the load begins, so that sending one costs a copy.
//!
//! Shapes differ in the order of the keys and in optional ones: a decoder that learns shapes finds as many as were asked for.

/// A payload without its closing brace: what differs from message to message is written behind it.
pub(crate) struct Row {
    /// From the opening brace on.
    pub(crate) text: Vec<u8>,
    /// How many results it must give.
    pub(crate) n_results: u64,
}

/// Members of an object in the order of shape `shape`; shape 0 is the order given.
///
/// The first shapes are the orders of the members, the next ones the same with an optional key between them, then with
/// another, then with both, and so on.
pub(crate) fn object(members: &[(&str, String)], shape: usize) -> Vec<u8> {
    let n_orders: usize = (1..=members.len().min(6)).product();
    let (mut order, optional) = (shape % n_orders, shape / n_orders);
    let mut left: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
    let mut text = Vec::with_capacity(left.len());
    for at in 0..left.len() {
        // Of long objects only the first six change their places.
        let choices = left.len().min(6usize.saturating_sub(at)).max(1);
        text.push(left.remove(order % choices));
        order /= choices;
    }
    let bits = (0..usize::BITS).filter(|bit| optional >> bit & 1 == 1);
    bits.for_each(|bit| text.insert(1, format!("\"optional{bit}\": {}", bit % 10)));
    let mut object = b"{".to_vec();
    object.extend_from_slice(text.join(", ").as_bytes());
    object
}

/// 500 flat keys, 5.4 KB (payload c of hot-path.md).
pub(crate) fn wide(number: usize) -> Vec<(String, String)> {
    (0..500).map(|key| (format!("key{key:03}"), ((key * 7 + number) % 10).to_string())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn keys(text: &[u8]) -> String {
        let text = String::from_utf8_lossy(text).into_owned() + "}";
        let row: serde_json::Value = serde_json::from_str(&text).expect("payloads are JSON");
        assert_eq!((&row["a"], &row["b"], &row["c"]), (&1.into(), &2.into(), &3.into()), "{text}");
        text
    }

    #[test]
    fn as_many_shapes_as_asked_for_and_the_same_values_in_all() {
        let members = [("a", "1".to_owned()), ("b", "2".to_owned()), ("c", "3".to_owned())];
        assert_eq!(keys(&object(&members, 0)), r#"{"a": 1, "b": 2, "c": 3}"#);
        let shapes: HashSet<String> = (0..100).map(|shape| keys(&object(&members, shape))).collect();
        assert_eq!(shapes.len(), 100);
    }
}
