// Package safetensors reads the header of a safetensors file.
//
// A file is an 8-byte little-endian length, a JSON object of that length, and the tensors' bytes:
//
//	{"__metadata__": {…}, "name": {"dtype": "BF16", "shape": [4096, 256], "data_offsets": [0, 2097152]}, …}
//
// Offsets count from the end of the header. The header comes from whoever made the file, so nothing
// in it is believed: every tensor lies inside the file, has exactly the bytes that its shape and type
// need, and shares none with another. Tensors are views of the file's bytes; nothing is copied.
package safetensors
