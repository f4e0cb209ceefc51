//! The implementations behind `LogRecord` and `LogScalar`. Each mistake is one line.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DataStruct, DeriveInput, Error, Fields, GenericParam, Generics, LitStr, Type,
};

/// What `#[log(…)]` says about a field or a variant.
#[derive(Default)]
struct Options {
    name: Option<LitStr>,
    is_skipped: bool,
}

/// The implementation of `zcluster::logging::LogRecord`, and of `LogField` for records inside others.
///
/// # Errors
/// When `input` is no struct with named fields, or an attribute is wrong.
pub(crate) fn record(input: &DeriveInput) -> Result<TokenStream, Error> {
    let ident = &input.ident;
    let fields = match &input.data {
        Data::Struct(DataStruct { fields: Fields::Named(fields), .. }) => &fields.named,
        Data::Struct(_) => {
            let message = "a log record has named fields: they are the columns";
            return Err(Error::new_spanned(ident, message));
        }
        _ => {
            let message = "a log record is a struct; for an enum derive `LogScalar`";
            return Err(Error::new_spanned(ident, message));
        }
    };
    no_attributes_here(&input.attrs)?;
    let mut columns = Vec::new();
    for field in fields {
        let Some(field_ident) = &field.ident else { continue };
        let options = options(&field.attrs)?;
        if options.is_skipped {
            continue;
        }
        let name = options.name.map_or_else(|| field_ident.unraw().to_string(), |n| n.value());
        columns.push((field_ident, &field.ty, name));
    }
    if columns.is_empty() {
        return Err(Error::new_spanned(ident, "a log record needs a field to log"));
    }
    for (index, (field, _, name)) in columns.iter().enumerate() {
        if columns[..index].iter().any(|(_, _, other)| other == name) {
            return Err(Error::new(field.span(), format!("two columns are named `{name}`")));
        }
    }
    let declare = columns.iter().map(|(_, ty, name)| {
        let field = quote_spanned!(ty.span()=> <#ty as ::zcluster::logging::LogField>);
        quote!(#field::columns(#name, false, columns);)
    });
    let write = columns.iter().map(|(ident, ty, _)| {
        let field = quote_spanned!(ty.span()=> <#ty as ::zcluster::logging::LogField>);
        quote!(#field::log(&self.#ident, record);)
    });
    let unset = columns.iter().map(|(_, ty, _)| {
        let field = quote_spanned!(ty.span()=> <#ty as ::zcluster::logging::LogField>);
        quote!(#field::log_unset(record);)
    });
    let bounds = bounds(&input.generics, columns.iter().map(|(_, ty, _)| *ty), "LogField");
    let (parameters, arguments, _) = input.generics.split_for_impl();
    let of = with_lifetime(input)?;
    Ok(quote! {
        #[automatically_derived]
        impl #parameters ::zcluster::logging::LogRecord for #ident #arguments #bounds {
            type Of<'zcluster_of> = #of;

            fn columns(columns: &mut ::zcluster::logging::Columns) {
                #(#declare)*
            }

            #[inline]
            fn log(&self, record: &mut ::zcluster::logging::RecordWriter<'_>) {
                #(#write)*
            }

            fn log_unset(record: &mut ::zcluster::logging::RecordWriter<'_>) {
                #(#unset)*
            }
        }

        #[automatically_derived]
        impl #parameters ::zcluster::logging::LogField for #ident #arguments #bounds {
            fn columns(name: &str, _: bool, columns: &mut ::zcluster::logging::Columns) {
                columns.nested::<Self>(name);
            }

            #[inline]
            fn log(&self, record: &mut ::zcluster::logging::RecordWriter<'_>) {
                ::zcluster::logging::LogRecord::log(self, record);
            }

            fn log_unset(record: &mut ::zcluster::logging::RecordWriter<'_>) {
                <Self as ::zcluster::logging::LogRecord>::log_unset(record);
            }
        }
    })
}

/// The implementation of `zcluster::logging::LogScalar`.
///
/// # Errors
/// When `input` is neither an enum without data nor a struct around one value, or an attribute is
/// wrong.
pub(crate) fn scalar(input: &DeriveInput) -> Result<TokenStream, Error> {
    no_attributes_here(&input.attrs)?;
    match &input.data {
        Data::Enum(data) => {
            let mut arms = Vec::new();
            for variant in &data.variants {
                if !matches!(variant.fields, Fields::Unit) {
                    let message = "an enum of Zeek has no data in its values";
                    return Err(Error::new_spanned(variant, message));
                }
                let options = options(&variant.attrs)?;
                if options.is_skipped {
                    let message = "a value of an enum cannot be skipped";
                    return Err(Error::new_spanned(variant, message));
                }
                let ident = &variant.ident;
                let name = match options.name {
                    Some(name) => name.value(),
                    None => renamed(&variant.attrs).unwrap_or_else(|| ident.unraw().to_string()),
                };
                arms.push(quote!(Self::#ident => #name,));
            }
            if arms.is_empty() {
                return Err(Error::new_spanned(&input.ident, "an enum needs a value"));
            }
            let (ident, (parameters, arguments, bounds)) =
                (&input.ident, input.generics.split_for_impl());
            Ok(quote! {
                #[automatically_derived]
                impl #parameters ::zcluster::logging::LogScalar for #ident #arguments #bounds {
                    const TYPE: ::zcluster::logging::Scalar = ::zcluster::logging::Scalar::Enum;

                    #[inline]
                    fn log_value(&self) -> ::zcluster::logging::LogValue<'_> {
                        let name: &str = match self { #(#arms)* };
                        ::zcluster::logging::LogValue::Enum(name.as_bytes())
                    }
                }
            })
        }
        Data::Struct(data)
            if matches!(data.fields, Fields::Unnamed(_)) && data.fields.len() == 1 =>
        {
            let types = || data.fields.iter().map(|field| &field.ty);
            let ty = types().next();
            let bounds = bounds(&input.generics, types(), "LogScalar");
            let (ident, (parameters, arguments, _)) =
                (&input.ident, input.generics.split_for_impl());
            let inner_type = quote_spanned! {ty.span()=>
                <#ty as ::zcluster::logging::LogScalar>::TYPE
            };
            Ok(quote! {
                #[automatically_derived]
                impl #parameters ::zcluster::logging::LogScalar for #ident #arguments #bounds {
                    const TYPE: ::zcluster::logging::Scalar = #inner_type;

                    #[inline]
                    fn log_value(&self) -> ::zcluster::logging::LogValue<'_> {
                        ::zcluster::logging::LogScalar::log_value(&self.0)
                    }
                }
            })
        }
        _ => {
            let message = "a single value of a log is an enum, or a struct around one value, as in \
                           `struct UserId(u64);`";
            Err(Error::new_spanned(&input.ident, message))
        }
    }
}

/// The type with its lifetime replaced.
fn with_lifetime(input: &DeriveInput) -> Result<TokenStream, Error> {
    let ident = &input.ident;
    if let Some(second) = input.generics.lifetimes().nth(1) {
        return Err(Error::new_spanned(second, "a log record has at most one lifetime"));
    }
    if input.generics.params.is_empty() {
        return Ok(quote!(#ident));
    }
    let arguments = input.generics.params.iter().map(|parameter| match parameter {
        GenericParam::Lifetime(_) => quote!('zcluster_of),
        GenericParam::Type(parameter) => {
            let ident = format_ident!("{}", parameter.ident);
            quote!(#ident)
        }
        GenericParam::Const(parameter) => {
            let ident = &parameter.ident;
            quote!(#ident)
        }
    });
    Ok(quote!(#ident<#(#arguments),*>))
}

/// The bounds of a type, and that the types of its fields can be logged, where they are not known yet.
fn bounds<'a>(
    generics: &Generics,
    types: impl Iterator<Item = &'a Type>,
    bound: &str,
) -> TokenStream {
    let own = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    let bound = format_ident!("{bound}");
    let is_generic = generics.type_params().next().is_some();
    let types = types.filter(|_| is_generic);
    quote!(where #(#own,)* #(#types: ::zcluster::logging::#bound,)*)
}

fn options(attributes: &[Attribute]) -> Result<Options, Error> {
    let mut options = Options::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("log")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                options.is_skipped = true;
                return Ok(());
            }
            if !meta.path.is_ident("name") {
                return Err(meta.error(r#"`log` has `name = "id.orig_h"` and `skip`"#));
            }
            let name: LitStr = meta.value()?.parse()?;
            if name.value().is_empty() || name.value().contains(|c: char| c.is_ascii_control()) {
                let message = "a name in a log is not empty, and has no control characters";
                return Err(Error::new(name.span(), message));
            }
            if options.name.is_some() {
                return Err(meta.error("a column has only one name"));
            }
            options.name = Some(name);
            Ok(())
        })?;
        if options.is_skipped && options.name.is_some() {
            let message = "a field with `skip` is no column, so it has no name in the log";
            return Err(Error::new_spanned(attribute, message));
        }
    }
    Ok(options)
}

fn no_attributes_here(attributes: &[Attribute]) -> Result<(), Error> {
    match attributes.iter().find(|attribute| attribute.path().is_ident("log")) {
        Some(attribute) => {
            let message = "`log` belongs to a field or a variant; \
                           the path of a log belongs to its stream";
            Err(Error::new_spanned(attribute, message))
        }
        None => Ok(()),
    }
}

/// The name in `#[serde(rename = "…")]`, so that an enum is renamed once for events and logs.
fn renamed(attributes: &[Attribute]) -> Option<String> {
    let mut name = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        // Serde says what is wrong with its attribute, and knows more options than we do.
        let _ = attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename") {
                name = Some(meta.value()?.parse::<LitStr>()?.value());
            } else if let Ok(value) = meta.value() {
                let _: syn::Expr = value.parse()?;
            }
            Ok(())
        });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::{record, scalar};

    fn code(result: Result<proc_macro2::TokenStream, syn::Error>) -> String {
        result.unwrap().to_string().replace(' ', "")
    }

    #[test]
    fn columns_have_the_names_of_fields_or_their_own() {
        let source = r#"struct Conn<'a, T> {
            ts: f64,
            #[log(name = "id.orig_h")] orig: T,
            r#type: &'a str,
            #[log(skip)] state: Vec<Conn<'a, T>>,
        }"#;
        let code = code(record(&syn::parse_str(source).unwrap()));
        for part in [
            r#"<f64as::zcluster::logging::LogField>::columns("ts",false,columns);"#,
            r#"LogField>::columns("id.orig_h",false,columns);"#,
            r#"LogField>::columns("type",false,columns);"#,
            "LogField>::log(&self.r#type,record);",
            "typeOf<'zcluster_of>=Conn<'zcluster_of,T>;",
            "T:::zcluster::logging::LogField,",
        ] {
            assert!(code.contains(part), "{part} in {code}");
        }
        assert!(!code.contains("state"), "{code}");
    }

    #[test]
    fn enums_have_the_names_of_zeek() {
        let source = r#"enum Kind {
            #[log(name = "Scan::PORT")] Port,
            #[serde(alias = "x", rename = "Scan::HOST")] Host,
            Other,
        }"#;
        let code = code(scalar(&syn::parse_str(source).unwrap()));
        for part in [
            r#"Self::Port=>"Scan::PORT""#,
            r#"Self::Host=>"Scan::HOST""#,
            r#"Self::Other=>"Other""#,
        ] {
            assert!(code.contains(part), "{part} in {code}");
        }
    }

    #[test]
    fn each_mistake_is_one_line() {
        for (source, expected) in [
            ("enum A { B }", "a log record is a struct; for an enum derive `LogScalar`"),
            ("struct A(u64);", "a log record has named fields: they are the columns"),
            ("struct A { #[log(skip)] x: u64 }", "a log record needs a field to log"),
            (
                r#"struct A { #[log(named = "b")] x: u64 }"#,
                r#"`log` has `name = "id.orig_h"` and `skip`"#,
            ),
            (
                r#"struct A { #[log(name = "")] x: u64 }"#,
                "a name in a log is not empty, and has no control characters",
            ),
            (r#"struct A { x: u64, #[log(name = "x")] y: u64 }"#, "two columns are named `x`"),
            (r#"struct A { #[log(name = "a", name = "b")] x: u64 }"#, "a column has only one name"),
            (
                r#"struct A { #[log(skip, name = "a")] x: u64 }"#,
                "a field with `skip` is no column, so it has no name in the log",
            ),
            (
                r#"#[log(path = "conn")] struct A { x: u64 }"#,
                "`log` belongs to a field or a variant; the path of a log belongs to its stream",
            ),
            (
                "struct A<'a, 'b> { x: &'a str, y: &'b str }",
                "a log record has at most one lifetime",
            ),
        ] {
            let found = record(&syn::parse_str(source).unwrap()).unwrap_err().to_string();
            assert_eq!(found, expected, "{source}");
        }
        for (source, expected) in [
            ("enum A { B(u64) }", "an enum of Zeek has no data in its values"),
            ("enum A { #[log(skip)] B }", "a value of an enum cannot be skipped"),
            ("enum A {}", "an enum needs a value"),
            (
                "struct A { x: u64 }",
                "a single value of a log is an enum, or a struct around one value, as in \
                 `struct UserId(u64);`",
            ),
        ] {
            let found = scalar(&syn::parse_str(source).unwrap()).unwrap_err().to_string();
            assert_eq!(found, expected, "{source}");
        }
    }
}
