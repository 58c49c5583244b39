// Package tokenizer turns text into tokens and back, and conversations into prompts.
//
// [Load] reads a Hugging Face tokenizer.json that holds byte-level BPE, as Llama 3, Qwen, GPT-2 and most
// open models do. Encoding has four steps:
//
//  1. Added tokens, such as <|im_end|>, are found in the text, if the caller allows it (added.go).
//  2. What lies between them is normalised to NFC, if the file says so (normalize.go).
//  3. It is cut into pieces by the pre-tokenizer (split.go). The patterns of Llama 3, Qwen 2 and GPT-2
//     are matched by hand-written scanners (scan.go), others by a regular-expression engine.
//  4. Each piece, as bytes, is merged into tokens by the learned rules, lowest rank first (merge.go).
//     Pieces recur, so their tokens are remembered in a bounded cache (cache.go).
//
// [LoadGGUF] reads a vocabulary from the metadata of a GGUF file instead: byte-level BPE, by the same steps, or the BPE of
// SentencePiece, which cuts nothing, begins with characters, and merges by scores (pieces.go).
//
// Any text can be encoded, and decoding gives it back: every byte has a token of its own. (NFC, and white
// space that an added token takes with lstrip or rstrip, are the exceptions.) Only a pattern that comes with a model, and
// searches for longer than a text of that length may take, is an error ([SlowPatternError]). A [Decoder] does it token
// by token and never emits half a character.
//
// [LoadChat] reads a model's chat template, a Jinja program, and [ChatTemplate.Render] runs it. A template comes with a
// model, so that nobody here has read it: it can reach nothing, and package jinja, which runs it, bounds the time and the
// memory that it may take by the size of the conversation.
//
// Ids are those of the reference implementation (Hugging Face tokenizers 0.23.2; see testdata, and
// research/make_tokenizer_goldens.cjs, which makes it), up to the version of Unicode: characters that were
// assigned after the one that Go's unicode package knows may be split differently. An added token that is
// not ASCII decodes to its own text, where the reference takes its characters for bytes.
package tokenizer
