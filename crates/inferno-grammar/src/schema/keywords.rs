//! Keywords of JSON schema, and the treatment of each.

/// Treatment of a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    /// Says nothing about answers; unknown keywords too, as JSON schema has it.
    Annotation,
    /// Names the draft.
    Draft,
    /// Left out, and named to the client.
    Unenforced,
    /// Has a schema, or for `items` a list.
    Schema,
    /// Has a list of schemas.
    Schemas,
    /// Has schemas by name.
    Properties,
    /// Names a schema.
    Reference,
    /// A length, or a number of items or properties.
    Size,
    /// A bound of numbers.
    Number,
    /// Has values.
    Values,
    /// Types.
    Type,
    /// A regular expression.
    Pattern,
    /// Names of properties.
    Required,
    /// A format of strings.
    Format,
}

/// Treatment of the keyword `name`.
pub(super) fn kind(name: &str) -> Keyword {
    match name {
        "$schema" => Keyword::Draft,
        "uniqueItems"
        | "contains"
        | "minContains"
        | "maxContains"
        | "not"
        | "if"
        | "then"
        | "else"
        | "dependentRequired"
        | "dependentSchemas"
        | "dependencies"
        | "propertyNames"
        | "unevaluatedItems"
        | "unevaluatedProperties" => Keyword::Unenforced,
        "items" | "additionalItems" | "additionalProperties" => Keyword::Schema,
        "prefixItems" | "allOf" | "anyOf" | "oneOf" => Keyword::Schemas,
        "properties" | "patternProperties" => Keyword::Properties,
        "$ref" | "$dynamicRef" | "$recursiveRef" => Keyword::Reference,
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
            Keyword::Size
        }
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => Keyword::Number,
        "const" | "enum" => Keyword::Values,
        "type" => Keyword::Type,
        "pattern" => Keyword::Pattern,
        "required" => Keyword::Required,
        "format" => Keyword::Format,
        _ => Keyword::Annotation,
    }
}

/// Whether llguidance keeps the format.
pub(super) fn is_known_format(name: &str) -> bool {
    matches!(
        name,
        "date-time" | "time" | "date" | "duration" | "email" | "hostname" | "ipv4" | "ipv6" | "uuid" | "uri"
    )
}
