// Package gguf reads the header of a GGUF file, version 2 or 3, little-endian.
//
// A file is the letters GGUF, a version, the numbers of tensors and of metadata, the metadata, what there
// is to know of each tensor, and, from the next multiple of the alignment on, the tensors' bytes:
//
//	magic, version u32, tensors u64, metadata u64
//	metadata: key, kind u32, value                                 a string is a u64 length and its bytes
//	tensor:   name, dimensions u32, each u64, type u32, offset u64  the fastest dimension first
//
// The header comes from whoever made the file, so nothing in it is believed: every length is held against
// what is left of the file before it is used, every tensor lies inside the file, at a multiple of the
// alignment, and shares no byte with another. A tensor of a type that is not known here is no error as
// long as nobody needs it: its size cannot be told, so its Data is nil. What is kept of a header is bounded
// by the file's own size; tensors and metadata are views of the file's bytes.
package gguf
