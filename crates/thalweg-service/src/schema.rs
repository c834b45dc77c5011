//! A compiled schema: the rpcs of a `.proto` file, and the files it was made of.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, FileDescriptor, MessageDescriptor, MethodDescriptor};
use protox::Compiler;

use crate::resolver::Resolver;

/// A `.proto` file, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    file: FileDescriptor,
    /// The files below `schemas` that were read for it.
    pub(crate) files: BTreeSet<String>,
}

impl Schema {
    /// Compiles a file and what it imports.
    pub(crate) fn compile(name: &str, resolver: Resolver) -> Result<Self, String> {
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler.include_imports(true).open_file(name).map_err(|why| explain(&why))?;
        let set = compiler.file_descriptor_set();
        let files = set.file.iter().map(|file| file.name().to_owned()).collect();
        let pool: DescriptorPool = compiler.descriptor_pool();
        let file = pool.get_file_by_name(name).ok_or_else(|| format!("{name} is not there"))?;
        Ok(Self { file, files })
    }

    /// The rpcs of all services of the file, in the order written.
    pub(crate) fn methods(&self) -> Vec<MethodDescriptor> {
        let services: Vec<_> = self.file.services().collect();
        services.iter().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
    }
}

/// What is wrong, with file, line and column.
fn explain(why: &protox::Error) -> String {
    match why.file() {
        // The form for debugging is the one that names the place.
        Some(_) => format!("{why:?}").trim_end().to_owned(),
        None if why.is_file_not_found() => {
            "it is neither in the package nor in data/services/schemas".to_owned()
        }
        None => why.to_string(),
    }
}

/// Whether the message only wraps a scalar (`google.protobuf.StringValue` and its like).
pub(crate) fn is_wrapper(message: &MessageDescriptor) -> bool {
    let kind = message.full_name().strip_prefix("google.protobuf.");
    kind.is_some_and(|kind| {
        matches!(
            kind,
            "BoolValue"
                | "BytesValue"
                | "DoubleValue"
                | "FloatValue"
                | "Int32Value"
                | "Int64Value"
                | "StringValue"
                | "UInt32Value"
                | "UInt64Value"
        )
    })
}
