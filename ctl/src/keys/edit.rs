//! Removes public keys from a layout file and keeps everything else, including comments and order.
//! Pure.

use toml_edit::{DocumentMut, Item, TableLike, Value};
use zcluster::layout::CurveKeys;
use zcluster::wire::zmtp::PublicKey;
use zeroize::Zeroizing;

/// Removes `keys` of `name` from the text of a layout file; `None` if it has none of them.
///
/// # Errors
/// When the text is not TOML.
pub(super) fn without_keys(
    text: &str,
    name: &str,
    keys: &[PublicKey],
) -> Result<Option<Zeroizing<String>>, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let root = document.as_table_mut();
    let (table, option): (_, &str) = if name == CurveKeys::BROKER {
        (table_in(root, "curve"), "broker_publickey")
    } else {
        let nodes = table_in(root, "nodes");
        (nodes.and_then(|nodes| table_in(nodes, name)), "curve_publickey")
    };
    let changed = table.is_some_and(|table| take_from(table, option, keys));
    Ok(changed.then(|| Zeroizing::new(document.to_string())))
}

fn table_in<'t>(table: &'t mut dyn TableLike, key: &str) -> Option<&'t mut dyn TableLike> {
    table.get_mut(key).and_then(Item::as_table_like_mut)
}

/// Whether anything was removed.
fn take_from(table: &mut dyn TableLike, option: &str, keys: &[PublicKey]) -> bool {
    let goes = |value: &Value| {
        let key = value.as_str().and_then(|text| text.parse().ok());
        key.is_some_and(|key| keys.contains(&key))
    };
    let rest = match table.get_mut(option).and_then(Item::as_value_mut) {
        Some(Value::Array(list)) => {
            let before = list.len();
            list.retain(|value| !goes(value));
            if list.len() == before {
                return false;
            }
            list.len()
        }
        Some(value) if goes(value) => 0,
        _ => return false,
    };
    if rest == 0 {
        table.remove(option);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    const OTHER: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

    #[test]
    fn keys_go_and_the_rest_stays() {
        for (name, before, after) in [
            (
                "a",
                "# A\n[nodes.a] # b\nip = '::1'  # c\ncurve_publickey = \"KEY\"\n\n[zeromq]\n",
                Some("# A\n[nodes.a] # b\nip = '::1'  # c\n\n[zeromq]\n"),
            ),
            (
                "a",
                "[nodes.a]\ncurve_publickey = [\n  \"KEY\",\n  \"OTHER\", # new\n]\nport = 1\n",
                Some("[nodes.a]\ncurve_publickey = [\n  \"OTHER\", # new\n]\nport = 1\n"),
            ),
            (
                "a",
                "[nodes]\na = { ip = \"::1\", curve_publickey = \"KEY\" }\nb = 1\n",
                Some("[nodes]\na = { ip = \"::1\"}\nb = 1\n"),
            ),
            ("a", "nodes.a.curve_publickey = [\"KEY\"]\nnodes.a.p = 1", Some("nodes.a.p = 1\n")),
            ("a.b", "[nodes.\"a.b\"]\ncurve_publickey = 'KEY'\n", Some("[nodes.\"a.b\"]\n")),
            (
                "broker",
                "[curve]\nmode = \"per-node\"\nbroker_publickey = \"KEY\"\n",
                Some("[curve]\nmode = \"per-node\"\n"),
            ),
            ("a", "[nodes.a]\ncurve_publickey = \"OTHER\"\n", None),
            ("a", "[nodes.b]\ncurve_publickey = \"KEY\"\n", None),
            ("a", "[nodes.a]\ncurve_publickey = 3\n", None),
            ("servers", "[nodes.a]\ncurve_publickey = \"KEY\"\n", None),
            ("a", "", None),
        ] {
            let with_keys = |text: &str| text.replace("KEY", KEY).replace("OTHER", OTHER);
            let key = KEY.parse().unwrap();
            let text = without_keys(&with_keys(before), name, &[key]).unwrap();
            let expected = after.map(with_keys);
            assert_eq!(text.as_deref(), expected.as_ref(), "{before}");
        }
        assert!(without_keys("[", "a", &[]).is_err());
    }
}
