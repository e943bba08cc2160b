//! Kafka's message schemas as they stand in their files.

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::versions::Versions;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schema {
    pub api_key: Option<i16>,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub name: String,
    pub valid_versions: Versions,
    pub flexible_versions: Versions,
    #[serde(default)]
    pub latest_version_unstable: bool,
    #[serde(default)]
    pub common_structs: Vec<CommonStruct>,
    pub fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    Request,
    Response,
    Header,
    Data,
}

/// A struct that several fields of one message use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommonStruct {
    pub name: String,
    #[serde(rename = "versions")]
    pub _versions: Versions,
    pub fields: Vec<Field>,
}

/// One field of a struct.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub type_name: String,
    versions: Option<Versions>,
    #[serde(default = "none")]
    pub nullable_versions: Versions,
    #[serde(default = "none")]
    pub tagged_versions: Versions,
    pub tag: Option<u32>,
    /// `none` for the one field of a flexible message that keeps its old form.
    pub flexible_versions: Option<Versions>,
    pub default: Option<Value>,
    /// The field may be dropped by versions that lack it.
    #[serde(default)]
    pub ignorable: bool,
    #[serde(default, rename = "mapKey")]
    pub _map_key: bool,
    #[serde(default, rename = "zeroCopy")]
    pub _zero_copy: bool,
    #[serde(default)]
    pub fields: Vec<Field>,
}

impl Field {
    /// The versions that have the field; those that tag it where the schema says no more.
    pub fn versions(&self) -> Versions {
        self.versions.unwrap_or(self.tagged_versions)
    }
}

fn none() -> Versions {
    Versions::NONE
}

/// A field's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    /// The name of the method of `Reader` and `Writer`, which is also the Rust type.
    Number(&'static str),
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    pub fn parse(text: &str) -> Result<Type> {
        if let Some(element) = text.strip_prefix("[]") {
            return Ok(Type::Array(Box::new(Type::parse(element)?)));
        }
        Ok(match text {
            "bool" => Type::Bool,
            "int8" => Type::Number("i8"),
            "int16" => Type::Number("i16"),
            "int32" => Type::Number("i32"),
            "int64" => Type::Number("i64"),
            "uint16" => Type::Number("u16"),
            "uint32" => Type::Number("u32"),
            "float64" => Type::Number("f64"),
            "uuid" => Type::Uuid,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "records" => Type::Records,
            name if name.starts_with(char::is_uppercase) => Type::Struct(name.to_owned()),
            _ => bail!("`{text}` is no type"),
        })
    }

    /// The Rust type of a value that is not null.
    pub fn rust(&self) -> String {
        match self {
            Type::Bool => "bool".to_owned(),
            Type::Number(name) => (*name).to_owned(),
            Type::Uuid => "Uuid".to_owned(),
            Type::String => "StrBytes".to_owned(),
            Type::Bytes => "Bytes".to_owned(),
            Type::Records => "Records".to_owned(),
            Type::Struct(name) => name.clone(),
            Type::Array(element) => format!("Vec<{}>", element.rust()),
        }
    }

    /// The struct that this is or has as elements.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Type::Struct(name) => Some(name),
            Type::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}
