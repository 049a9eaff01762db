//! JSON held against a schema.

use serde_json::Value;

/// The part of JSON Schema that ours uses.
pub(crate) fn check(schema: &Value, root: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let at = root.pointer(reference.trim_start_matches('#'));
        return check(at.ok_or("a broken reference")?, root, value, path);
    }
    if let Some(all) = schema["oneOf"].as_array() {
        let tried: Vec<_> = all
            .iter()
            .map(|one| check(one, root, value, path))
            .collect();
        return match tried.iter().filter(|result| result.is_ok()).count() {
            1 => Ok(()),
            n => Err(format!("{path}: {n} of the alternatives fit: {tried:?}")),
        };
    }
    let wrong = |what: &str| Err(format!("{path}: {value} is {what}"));
    if schema.get("const").is_some_and(|only| only != value) {
        return wrong("another constant");
    }
    if let Some(all) = schema["enum"].as_array()
        && !all.contains(value)
    {
        return wrong("not in the enumeration");
    }
    let of_type = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match &schema["type"] {
        Value::String(name) if !of_type(name) => return wrong(&format!("no {name}")),
        Value::Array(names) if !names.iter().any(|n| of_type(n.as_str().unwrap_or(""))) => {
            return wrong("of no type allowed");
        }
        _ => {}
    }
    if let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object())
    {
        for (name, value) in object {
            let property = properties.get(name);
            let property = property.ok_or(format!("{path}.{name} is not in the schema"))?;
            check(property, root, value, &format!("{path}.{name}"))?;
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            if !object.contains_key(name.as_str().unwrap_or("")) {
                return Err(format!("{path}.{name} is missing"));
            }
        }
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        for (at, item) in items.iter().enumerate() {
            check(schema, root, item, &format!("{path}[{at}]"))?;
        }
    }
    Ok(())
}
