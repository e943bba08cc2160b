//! One field: its Rust type, default, reading and writing, as pieces of Rust source.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::names;
use super::schema::{Field, Type};
use super::versions::{Condition, Versions};

/// A field of a struct whose versions are known to lie within `range`.
pub struct FieldCode<'a> {
    pub field: &'a Field,
    pub name: String,
    kind: Type,
    nullable: bool,
    range: Versions,
    /// The expression that says whether lengths are compact.
    compact: &'static str,
}

impl<'a> FieldCode<'a> {
    pub fn new(field: &'a Field, range: Versions) -> Result<FieldCode<'a>> {
        let never_compact = field.flexible_versions == Some(Versions::NONE);
        Ok(FieldCode {
            field,
            name: names::field(&field.name),
            kind: Type::parse(&field.type_name)?,
            nullable: !field.nullable_versions.is_empty(),
            range,
            compact: if never_compact { "false" } else { "flexible" },
        })
    }

    pub fn rust_type(&self) -> String {
        let kind = self.kind.rust();
        if self.nullable { format!("Option<{kind}>") } else { kind }
    }

    /// What the schema says, for the field's documentation.
    pub fn doc(&self) -> String {
        let mut doc = format!("Versions {}", self.field.versions());
        if self.nullable {
            doc.push_str(&format!(", null in {}", self.field.nullable_versions));
        }
        if let Some(tag) = self.field.tag {
            doc.push_str(&format!(", tag {tag} in {}", self.field.tagged_versions));
        }
        if let Some(default) = self.field.default.as_ref().filter(|default| !default.is_null()) {
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            if !matches!(default.as_str(), "null" | "") {
                doc.push_str(&format!(", `{default}` by default"));
            }
        }
        doc + "."
    }

    /// Versions in which the field stands in its place, not among the tagged ones.
    pub fn plain_versions(&self) -> Result<Versions> {
        let (all, tagged) = (self.field.versions(), self.field.tagged_versions);
        if self.field.tag.is_none() || tagged.is_empty() {
            return Ok(all.intersect(self.range));
        }
        if tagged.contains(all.intersect(self.range)) {
            return Ok(Versions::NONE);
        }
        bail!("{} is tagged in some of its versions only", self.field.name)
    }

    /// Its tag and the versions that have it.
    pub fn tag(&self) -> Option<(u32, Versions)> {
        let versions = self.field.tagged_versions.intersect(self.range);
        self.field.tag.filter(|_| !versions.is_empty()).map(|tag| (tag, versions))
    }

    /// The default value, as an expression.
    pub fn default(&self) -> Result<String> {
        if self.default_is_null() {
            return Ok("None".to_owned());
        }
        let value = match (&self.kind, &self.field.default) {
            (Type::Bool, default) => bool_default(default.as_ref())?.to_string(),
            (Type::Number("f64"), None) => "0.0".to_owned(),
            (Type::Number(_), default) => number_default(default.as_ref())?.to_string(),
            (Type::Uuid, None) => "Uuid::ZERO".to_owned(),
            (Type::String, None) => "StrBytes::new()".to_owned(),
            (Type::String, Some(Value::String(text))) if text.is_empty() => {
                "StrBytes::new()".to_owned()
            }
            (Type::Bytes, None) => "Bytes::new()".to_owned(),
            (Type::Records, None) => "Records::EMPTY".to_owned(),
            (Type::Array(_), None) => "Vec::new()".to_owned(),
            (Type::Struct(name), None) => format!("{name}::default()"),
            (_, Some(default)) => bail!("{} can not be {default} by default", self.field.name),
        };
        Ok(if self.nullable { format!("Some({value})") } else { value })
    }

    /// Whether Rust's own default of the type is the field's.
    pub fn has_rust_default(&self) -> Result<bool> {
        let default = self.default()?;
        let rust = ["None", "false", "0", "0.0", "Uuid::ZERO", "StrBytes::new()", "Bytes::new()"];
        let more = ["Records::EMPTY", "Vec::new()"];
        Ok(rust.contains(&default.as_str())
            || more.contains(&default.as_str())
            || (!self.nullable && matches!(self.kind, Type::Struct(_))))
    }

    /// Records are null by default whatever their schema says, as in Kafka's generator.
    fn default_is_null(&self) -> bool {
        let says_null = match &self.field.default {
            Some(Value::Null) => true,
            Some(Value::String(text)) => text == "null",
            _ => false,
        };
        self.nullable && (says_null || self.kind == Type::Records)
    }

    /// An expression that says whether `value` (a place) is the default.
    pub fn is_default(&self, value: &str) -> Result<String> {
        if self.default_is_null() {
            return Ok(format!("{value}.is_none()"));
        }
        Ok(match (&self.kind, self.nullable) {
            (Type::Bool, false) if self.default()? == "false" => format!("!{value}"),
            (Type::Bool, false) => value.to_owned(),
            (Type::Uuid, false) => format!("{value}.is_zero()"),
            (Type::Number(_), false) => format!("{value} == {}", self.default()?),
            (Type::Struct(name), false) => format!("{value} == {name}::default()"),
            (Type::Struct(_), true) => format!("{value} == {}", self.default()?),
            (_, false) => format!("{value}.is_empty()"),
            (_, true) => format!("{value}.as_ref().is_some_and(|value| value.is_empty())"),
        })
    }

    /// An expression that reads the field from `reader` in the versions `present`.
    pub fn read(&self, present: Versions) -> String {
        match self.field.nullable_versions.condition(present) {
            Condition::Always => self.read_nullable(),
            Condition::Never if !self.nullable => self.read_value(&self.kind),
            Condition::Never => format!("Some({})", self.read_value(&self.kind)),
            Condition::When(condition) => format!(
                "if {condition} {{ {} }} else {{ Some({}) }}",
                self.read_nullable(),
                self.read_value(&self.kind)
            ),
        }
    }

    /// An expression that reads the field as a tagged one.
    ///
    /// Kafka's generator marks a tagged struct that may be null otherwise than one in its place: by a
    /// variable-length number, 0 for null.
    pub fn read_tagged(&self, present: Versions) -> String {
        self.read(present).replace("nullable_struct", "nullable_tagged_struct")
    }

    /// Statements that write the field as a tagged one.
    pub fn write_tagged(&self, present: Versions) -> String {
        self.write(present).replace("nullable_struct", "nullable_tagged_struct")
    }

    fn read_nullable(&self) -> String {
        let compact = self.compact;
        match &self.kind {
            Type::String => format!("reader.nullable_string({compact})?"),
            Type::Bytes => format!("reader.nullable_bytes({compact})?"),
            Type::Records => format!("reader.nullable_records({compact})?"),
            Type::Array(element) => {
                format!("reader.nullable_array({compact}, {})?", self.element_reader(element))
            }
            Type::Struct(name) => {
                format!("reader.nullable_struct(|reader| {name}::decode(reader, version))?")
            }
            Type::Bool | Type::Number(_) | Type::Uuid => unreachable!("numbers are never null"),
        }
    }

    fn read_value(&self, kind: &Type) -> String {
        let compact = self.compact;
        match kind {
            Type::Bool => "reader.bool()?".to_owned(),
            Type::Number(name) => format!("reader.{name}()?"),
            Type::Uuid => "reader.uuid()?".to_owned(),
            Type::String => format!("reader.string({compact})?"),
            Type::Bytes => format!("reader.bytes({compact})?"),
            Type::Records => format!("reader.records({compact})?"),
            Type::Struct(name) => format!("{name}::decode(reader, version)?"),
            Type::Array(element) => {
                format!("reader.array({compact}, {})?", self.element_reader(element))
            }
        }
    }

    fn element_reader(&self, element: &Type) -> String {
        match element {
            Type::Bool => "Reader::bool".to_owned(),
            Type::Number(name) => format!("Reader::{name}"),
            Type::Uuid => "Reader::uuid".to_owned(),
            _ => {
                let read = self.read_value(element);
                format!("|reader| {}", read.strip_suffix('?').unwrap_or(&read))
            }
        }
    }

    /// Statements that write the field to `writer` in the versions `present`.
    pub fn write(&self, present: Versions) -> String {
        let place = format!("self.{}", self.name);
        if !self.nullable {
            return self.write_value(&self.kind, &place, Access::Place) + ";";
        }
        let needed = format!("not_null({place}.as_ref(), \"{}\", version)?", self.field.name);
        let plain = self.write_value(&self.kind, &needed, Access::Reference) + ";";
        match self.field.nullable_versions.condition(present) {
            Condition::Always => self.write_nullable(&place),
            Condition::Never => plain,
            Condition::When(condition) => {
                format!("if {condition} {{ {} }} else {{ {plain} }}", self.write_nullable(&place))
            }
        }
    }

    fn write_nullable(&self, place: &str) -> String {
        let compact = self.compact;
        match &self.kind {
            Type::String => format!("writer.nullable_string({place}.as_ref(), {compact})?;"),
            Type::Bytes => format!("writer.nullable_bytes({place}.as_ref(), {compact})?;"),
            Type::Records => format!("writer.nullable_records({place}.as_ref(), {compact})?;"),
            Type::Array(element) => {
                let element = self.element_writer(element);
                format!("writer.nullable_array({place}.as_deref(), {compact}, {element})?;")
            }
            Type::Struct(_) => format!(
                "writer.nullable_struct({place}.as_ref(), |writer, value| \
                 value.encode(writer, version))?;"
            ),
            Type::Bool | Type::Number(_) | Type::Uuid => unreachable!("numbers are never null"),
        }
    }

    fn write_value(&self, kind: &Type, value: &str, access: Access) -> String {
        let compact = self.compact;
        let (copied, shared) = match access {
            Access::Place => (value.to_owned(), format!("&{value}")),
            Access::Reference => (format!("*{value}"), value.to_owned()),
        };
        match kind {
            Type::Bool => format!("writer.bool({copied})"),
            Type::Number(name) => format!("writer.{name}({copied})"),
            Type::Uuid => format!("writer.uuid({copied})"),
            Type::String => format!("writer.string({shared}, {compact})?"),
            Type::Bytes => format!("writer.bytes({shared}, {compact})?"),
            Type::Records => format!("writer.records({shared}, {compact})?"),
            Type::Struct(_) => format!("{value}.encode(writer, version)?"),
            Type::Array(element) => {
                format!("writer.array({shared}, {compact}, {})?", self.element_writer(element))
            }
        }
    }

    fn element_writer(&self, element: &Type) -> String {
        let write = self.write_value(element, "value", Access::Reference);
        match write.strip_suffix('?') {
            Some(result) => format!("|writer, value| {result}"),
            None => format!("|writer, value| {{ {write}; Ok(()) }}"),
        }
    }
}

/// How an expression gives a value.
#[derive(Clone, Copy)]
enum Access {
    Place,
    Reference,
}

fn bool_default(default: Option<&Value>) -> Result<bool> {
    Ok(match default {
        None => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => text.parse()?,
        Some(other) => bail!("{other} is neither true nor false"),
    })
}

fn number_default(default: Option<&Value>) -> Result<i64> {
    Ok(match default {
        None => 0,
        Some(Value::Number(number)) => number.as_i64().context("default exceeds 64 bits")?,
        Some(Value::String(text)) => match text.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16)?,
            None => text.parse()?,
        },
        Some(other) => bail!("{other} is no number"),
    })
}
