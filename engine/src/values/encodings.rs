//! When a collection leaves its packed form, and how packed chunks are cut.

/// The thresholds, as the directives of the same names set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Encodings {
    pub hash_listpack_entries_max: u64,
    pub hash_listpack_value_bytes_max: u64,
    /// Positive: entries a node. -1 to -5: 4, 8, 16, 32, 64 KiB a node.
    pub list_listpack_size_max: i32,
    /// Nodes left uncompressed at each end; 0 compresses none.
    pub list_compress_depth: u32,
    pub set_intset_entries_max: u64,
    pub set_listpack_entries_max: u64,
    pub set_listpack_value_bytes_max: u64,
    pub sorted_set_listpack_entries_max: u64,
    pub sorted_set_listpack_value_bytes_max: u64,
    pub stream_node_bytes_max: u64,
    pub stream_node_entries_max: u64,
    pub hyperloglog_sparse_bytes_max: u64,
}

impl Default for Encodings {
    fn default() -> Self {
        Self {
            hash_listpack_entries_max: 512,
            hash_listpack_value_bytes_max: 64,
            list_listpack_size_max: -2,
            list_compress_depth: 0,
            set_intset_entries_max: 512,
            set_listpack_entries_max: 128,
            set_listpack_value_bytes_max: 64,
            sorted_set_listpack_entries_max: 128,
            sorted_set_listpack_value_bytes_max: 64,
            stream_node_bytes_max: 4096,
            stream_node_entries_max: 100,
            hyperloglog_sparse_bytes_max: 3000,
        }
    }
}
