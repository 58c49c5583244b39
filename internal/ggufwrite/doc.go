// Package ggufwrite writes GGUF files: for tests, and for models of random weights.
package ggufwrite
