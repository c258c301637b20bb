//! Bytes on disk. Today the seam only: the trait through which everything durable will reach storage, so that tests can
//! put a faulty disk behind it. The RDB and AOF codecs, the snapshot cursor and recovery come to stand on it.
