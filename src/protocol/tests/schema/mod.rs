//! Random messages out of the schemas alone: a second reading of them, which shares no line with the
//! generator or the codec that it tests.
//!
//! In: the JSON files of `schemas/` and a seed. Out: the canonical bytes of a message (tags in order,
//! no tagged field with its default value).
//!
//! Start at [`Schemas::load`] and [`Schema::random_bytes`].

#![allow(clippy::disallowed_methods, reason = "tests read the schemas")]
// Each test binary uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;

/// A small generator of random numbers (splitmix64): the same numbers for a seed everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// All schemas by name.
pub struct Schemas(BTreeMap<String, Schema>);

impl Schemas {
    pub fn load() -> Schemas {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let mut schemas = BTreeMap::new();
        for directory in [directory.clone(), directory.join("records")] {
            for entry in fs::read_dir(directory).expect("schemas are there") {
                let path = entry.expect("readable").path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    let text = fs::read_to_string(&path).expect("readable");
                    let schema = Schema::parse(&serde_json::from_str(&text).expect("JSON"));
                    schemas.insert(schema.name.clone(), schema);
                }
            }
        }
        Schemas(schemas)
    }

    pub fn get(&self, name: &str) -> &Schema {
        &self.0[name]
    }

    pub fn iter(&self) -> impl Iterator<Item = &Schema> {
        self.0.values()
    }
}

/// First and last version; empty when they are the wrong way round.
#[derive(Clone, Copy, Debug)]
pub struct Range(i16, i16);

impl Range {
    fn parse(json: &Json) -> Range {
        let Some(text) = json.as_str() else { return Range(0, -1) };
        let number = |text: &str| text.parse().expect("a version");
        match text.strip_suffix('+') {
            Some(low) => Range(number(low), i16::MAX),
            None if text == "none" => Range(0, -1),
            None => {
                let (low, high) = text.split_once('-').unwrap_or((text, text));
                Range(number(low), number(high))
            }
        }
    }

    fn has(self, version: i16) -> bool {
        self.0 <= version && version <= self.1
    }
}

pub struct Schema {
    pub name: String,
    pub api_key: Option<i16>,
    pub is_request: bool,
    versions: Range,
    flexible: Range,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    kind: Kind,
    versions: Range,
    nullable: Range,
    tagged: Range,
    tag: u64,
    default: Option<String>,
    never_compact: bool,
}

enum Kind {
    Int(u32),
    Bool,
    Float,
    Uuid,
    String,
    Bytes,
    Struct(Vec<Field>),
    Array(Box<Kind>),
}

/// A value in memory, before it is written; null is `None`.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Int(i64),
    Bool(bool),
    Float(u64),
    Uuid([u8; 16]),
    String(Option<String>),
    Bytes(Option<Vec<u8>>),
    Struct(Option<Fields>),
    Array(Option<Vec<Value>>),
}

#[derive(Clone, Debug, PartialEq)]
struct Fields {
    values: Vec<Value>,
    unknown: BTreeMap<u64, Vec<u8>>,
}

impl Schema {
    fn parse(json: &Json) -> Schema {
        let common: BTreeMap<&str, &Json> = json["commonStructs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|json| (json["name"].as_str().expect("a name"), json))
            .collect();
        Schema {
            name: json["name"].as_str().expect("a name").to_owned(),
            api_key: json["apiKey"].as_i64().map(|key| key as i16),
            is_request: json["type"] == "request",
            versions: Range::parse(&json["validVersions"]),
            flexible: Range::parse(&json["flexibleVersions"]),
            fields: parse_fields(json, &common),
        }
    }

    pub fn versions(&self) -> std::ops::RangeInclusive<i16> {
        self.versions.0..=self.versions.1
    }

    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible.has(version)
    }

    /// A random message's canonical bytes, with unknown tagged fields if `unknown`.
    pub fn random_bytes(&self, version: i16, random: &mut Random, unknown: bool) -> Vec<u8> {
        let flexible = self.flexible.has(version);
        let context = Context { version, flexible, unknown };
        let value = random_struct(&self.fields, &context, random);
        let mut output = Vec::new();
        write_struct(&self.fields, &value, &context, &mut output);
        output
    }
}

struct Context {
    version: i16,
    flexible: bool,
    unknown: bool,
}

fn parse_fields(json: &Json, common: &BTreeMap<&str, &Json>) -> Vec<Field> {
    let fields = json["fields"].as_array().expect("fields");
    fields.iter().map(|json| parse_field(json, common)).collect()
}

fn parse_field(json: &Json, common: &BTreeMap<&str, &Json>) -> Field {
    let tagged = Range::parse(&json["taggedVersions"]);
    let default = match &json["default"] {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    Field {
        name: json["name"].as_str().expect("a name").to_owned(),
        kind: parse_kind(json["type"].as_str().expect("a type"), json, common),
        versions: if json["versions"].is_null() { tagged } else { Range::parse(&json["versions"]) },
        nullable: Range::parse(&json["nullableVersions"]),
        tagged,
        tag: json["tag"].as_u64().unwrap_or_default(),
        default,
        never_compact: json["flexibleVersions"] == "none",
    }
}

fn parse_kind(text: &str, json: &Json, common: &BTreeMap<&str, &Json>) -> Kind {
    if let Some(element) = text.strip_prefix("[]") {
        return Kind::Array(Box::new(parse_kind(element, json, common)));
    }
    match text {
        "int8" => Kind::Int(1),
        "int16" | "uint16" => Kind::Int(2),
        "int32" | "uint32" => Kind::Int(4),
        "int64" => Kind::Int(8),
        "bool" => Kind::Bool,
        "float64" => Kind::Float,
        "uuid" => Kind::Uuid,
        "string" => Kind::String,
        "bytes" | "records" => Kind::Bytes,
        name if json["fields"].is_array() => {
            assert!(!common.contains_key(name), "{name} is defined twice");
            Kind::Struct(parse_fields(json, common))
        }
        name => Kind::Struct(parse_fields(common[name], common)),
    }
}

fn random_struct(fields: &[Field], context: &Context, random: &mut Random) -> Fields {
    let values = fields
        .iter()
        .map(|field| {
            if !field.versions.has(context.version) || random.one_in(5) && field.is_tagged(context)
            {
                return field.default();
            }
            let nullable = field.nullable.has(context.version);
            random_value(&field.kind, nullable, context, random)
        })
        .collect();
    let mut unknown = BTreeMap::new();
    if context.unknown && context.flexible && random.one_in(3) {
        for _ in 0..random.below(4) {
            // No schema has a tag above 3.
            let tag = 4 + (random.next() >> 33 >> random.below(31));
            unknown.insert(tag, random_bytes(random));
        }
    }
    Fields { values, unknown }
}

fn random_value(kind: &Kind, nullable: bool, context: &Context, random: &mut Random) -> Value {
    let is_null = nullable && random.one_in(4);
    match kind {
        // Small numbers and the largest ones are both worth a look.
        Kind::Int(width) => {
            let bits = (random.next() as i64) >> random.below(64);
            Value::Int(bits << (64 - 8 * width) >> (64 - 8 * width))
        }
        Kind::Bool => Value::Bool(random.one_in(2)),
        Kind::Float => Value::Float((random.below(1 << 20) as f64 / 7.0).to_bits()),
        Kind::Uuid => {
            let bits = u128::from(random.next()) << 64 | u128::from(random.next());
            Value::Uuid(bits.to_be_bytes())
        }
        Kind::String => Value::String((!is_null).then(|| random_text(random))),
        Kind::Bytes => Value::Bytes((!is_null).then(|| random_bytes(random))),
        Kind::Struct(fields) => {
            Value::Struct((!is_null).then(|| random_struct(fields, context, random)))
        }
        Kind::Array(element) => {
            let count = random.below(4);
            let mut elements =
                || (0..count).map(|_| random_value(element, false, context, random)).collect();
            Value::Array((!is_null).then(&mut elements))
        }
    }
}

fn random_text(random: &mut Random) -> String {
    const LETTERS: [char; 8] = ['a', 'Z', '0', '-', '.', 'é', '€', '𝄞'];
    // 127 and 128 are where compact lengths take a second byte.
    let length = if random.one_in(20) { 120 + random.below(20) } else { random.below(12) };
    (0..length).map(|_| LETTERS[random.below(LETTERS.len())]).collect()
}

fn random_bytes(random: &mut Random) -> Vec<u8> {
    let length = if random.one_in(20) { 2000 } else { random.below(40) };
    (0..length).map(|_| random.next() as u8).collect()
}

impl Field {
    fn is_tagged(&self, context: &Context) -> bool {
        self.tagged.has(context.version)
    }

    fn default(&self) -> Value {
        let nullable = self.nullable.0 <= self.nullable.1;
        let default = self.default.as_deref().unwrap_or_default();
        let null = nullable && default == "null";
        match &self.kind {
            Kind::Int(_) => Value::Int(match default.strip_prefix("0x") {
                Some(digits) => i64::from_str_radix(digits, 16).expect("a number"),
                None if default.is_empty() => 0,
                None => default.parse().expect("a number"),
            }),
            Kind::Bool => Value::Bool(default == "true"),
            Kind::Float => Value::Float(0),
            Kind::Uuid => Value::Uuid([0; 16]),
            Kind::String => Value::String((!null).then(String::new)),
            Kind::Bytes => Value::Bytes((!null).then(Vec::new)),
            Kind::Array(_) => Value::Array((!null).then(Vec::new)),
            Kind::Struct(fields) => Value::Struct((!null).then(|| Fields {
                values: fields.iter().map(Field::default).collect(),
                unknown: BTreeMap::new(),
            })),
        }
    }
}

fn write_struct(fields: &[Field], value: &Fields, context: &Context, output: &mut Vec<u8>) {
    let mut tagged = value.unknown.clone();
    for (field, value) in fields.iter().zip(&value.values) {
        let compact = context.flexible && !field.never_compact;
        let nullable = field.nullable.has(context.version);
        if field.is_tagged(context) {
            if *value != field.default() {
                let mut content = Vec::new();
                write_value(&field.kind, value, nullable, compact, context, &mut content);
                // Kafka marks a null struct by -1 in its place, and by 0 in a tagged field.
                if *value == Value::Struct(None) {
                    content = vec![0];
                }
                tagged.insert(field.tag, content);
            }
        } else if field.versions.has(context.version) {
            write_value(&field.kind, value, nullable, compact, context, output);
        }
    }
    if !context.flexible {
        return;
    }
    write_uvarint(tagged.len() as u64, output);
    for (tag, content) in tagged {
        write_uvarint(tag, output);
        write_uvarint(content.len() as u64, output);
        output.extend(content);
    }
}

fn write_value(
    kind: &Kind,
    value: &Value,
    nullable: bool,
    compact: bool,
    context: &Context,
    output: &mut Vec<u8>,
) {
    match (kind, value) {
        (Kind::Int(width), Value::Int(number)) => {
            output.extend(&number.to_be_bytes()[8 - *width as usize..]);
        }
        (Kind::Bool, Value::Bool(is_true)) => output.push((*is_true).into()),
        (Kind::Float, Value::Float(bits)) => output.extend(bits.to_be_bytes()),
        (Kind::Uuid, Value::Uuid(bytes)) => output.extend(bytes),
        (Kind::String, Value::String(text)) => {
            let bytes = text.as_deref().map(str::as_bytes);
            write_length(bytes.map(<[u8]>::len), 2, compact, output);
            output.extend(bytes.unwrap_or_default());
        }
        (Kind::Bytes, Value::Bytes(bytes)) => {
            write_length(bytes.as_ref().map(Vec::len), 4, compact, output);
            output.extend(bytes.iter().flatten());
        }
        (Kind::Array(element), Value::Array(values)) => {
            write_length(values.as_ref().map(Vec::len), 4, compact, output);
            for value in values.iter().flatten() {
                write_value(element, value, false, compact, context, output);
            }
        }
        (Kind::Struct(fields), Value::Struct(value)) => {
            if nullable {
                output.push(if value.is_some() { 1 } else { 0xff });
            }
            if let Some(value) = value {
                write_struct(fields, value, context, output);
            }
        }
        _ => unreachable!("a value has its field's kind"),
    }
}

fn write_length(length: Option<usize>, width: usize, compact: bool, output: &mut Vec<u8>) {
    if compact {
        write_uvarint(length.map_or(0, |length| length as u64 + 1), output);
    } else {
        let length = length.map_or(-1, |length| length as i64);
        output.extend(&length.to_be_bytes()[8 - width..]);
    }
}

pub fn write_uvarint(mut value: u64, output: &mut Vec<u8>) {
    while value >= 0x80 {
        output.push(value as u8 | 0x80);
        value >>= 7;
    }
    output.push(value as u8);
}
