//! The implementation of `zcluster::TypedEvent` for a struct. Each mistake is one line.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Field, LitStr, Meta, Token};

use crate::name::is_event_name;

/// # Errors
/// When `input` is no struct, has no valid name, or has fields that are no arguments.
pub(crate) fn implement(input: &DeriveInput) -> Result<TokenStream, Error> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(
            &input.ident,
            "an event is a struct: its fields are the arguments",
        ));
    };
    let name = event_name(&input.attrs)?.ok_or_else(|| {
        let message = r#"the event has no name: add `#[event(name = "Module::event")]`"#;
        Error::new_spanned(&input.ident, message)
    })?;
    no_misplaced_attributes(&data.fields)?;
    data.fields.iter().try_for_each(not_flattened)?;
    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::zcluster::TypedEvent for #ident #arguments #bounds {
            const NAME: &'static str = #name;
        }
    })
}

/// The name in `#[event(name = "…")]`.
fn event_name(attributes: &[Attribute]) -> Result<Option<LitStr>, Error> {
    let mut name: Option<LitStr> = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(
                    meta.error(r#"`event` has only `name`: `#[event(name = "Module::event")]`"#)
                );
            }
            let value: LitStr = meta.value()?.parse()?;
            if name.is_some() {
                return Err(meta.error("an event has only one name"));
            }
            if !is_event_name(&value.value()) {
                let message =
                    "the name of an event is identifiers joined by `::`, as in `Demo::ping`";
                return Err(Error::new(value.span(), message));
            }
            name = Some(value);
            Ok(())
        })?;
    }
    Ok(name)
}

fn no_misplaced_attributes(fields: &syn::Fields) -> Result<(), Error> {
    let mut attributes = fields.iter().flat_map(|field| &field.attrs);
    match attributes.find(|attribute| attribute.path().is_ident("event")) {
        Some(attribute) => {
            Err(Error::new_spanned(attribute, "`event` belongs to the struct, not to a field"))
        }
        None => Ok(()),
    }
}

/// `#[serde(flatten)]` would make the struct a map, whose entries have no positions.
fn not_flattened(field: &Field) -> Result<(), Error> {
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        let Meta::List(list) = &attribute.meta else { continue };
        let options = list
            .parse_args_with(syn::punctuated::Punctuated::<Meta, Token![,]>::parse_terminated)
            // Serde says what is wrong with its attribute.
            .unwrap_or_default();
        if options.iter().any(|option| option.path().is_ident("flatten")) {
            let message = "an argument cannot be flattened: arguments have positions, not names";
            return Err(Error::new(field_span(field), message));
        }
    }
    Ok(())
}

fn field_span(field: &Field) -> Span {
    field.ident.as_ref().map_or_else(Span::call_site, syn::Ident::span)
}

#[cfg(test)]
mod tests {
    use super::implement;

    fn message(source: &str) -> String {
        implement(&syn::parse_str(source).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn a_struct_with_a_name_is_an_event() {
        let input =
            syn::parse_str(r#"#[event(name = "Demo::ping")] struct Ping<T>(T) where T: Copy;"#);
        let code = implement(&input.unwrap()).unwrap().to_string().replace(' ', "");
        assert!(
            code.contains("impl<T>::zcluster::TypedEventforPing<T>whereT:Copy")
                && code.contains(r#"constNAME:&'staticstr="Demo::ping";"#),
            "{code}"
        );
    }

    #[test]
    fn each_mistake_is_one_line() {
        for (source, expected) in [
            (
                r#"#[event(name = "Demo::ping")] enum Ping { One }"#,
                "an event is a struct: its fields are the arguments",
            ),
            ("struct Ping;", r#"the event has no name: add `#[event(name = "Module::event")]`"#),
            (
                r#"#[event(name = "Demo.ping")] struct Ping;"#,
                "the name of an event is identifiers joined by `::`, as in `Demo::ping`",
            ),
            (
                r#"#[event(name = "")] struct Ping;"#,
                "the name of an event is identifiers joined by `::`, as in `Demo::ping`",
            ),
            (
                r#"#[event(title = "Demo::ping")] struct Ping;"#,
                r#"`event` has only `name`: `#[event(name = "Module::event")]`"#,
            ),
            (r#"#[event(name = "a", name = "b")] struct Ping;"#, "an event has only one name"),
            (
                r#"#[event(name = "a")] struct Ping { #[event(name = "b")] x: u64 }"#,
                "`event` belongs to the struct, not to a field",
            ),
            (
                r#"#[event(name = "a")] struct Ping { #[serde(default, flatten)] x: Inner }"#,
                "an argument cannot be flattened: arguments have positions, not names",
            ),
            (r"#[event(name = 5)] struct Ping;", "expected string literal"),
        ] {
            assert_eq!(message(source), expected, "{source}");
        }
    }
}
