// Package recall is the model that ships inside Orrery, and documents to ask it about.
//
// The model is a Llama of 5.8 million parameters that does one thing: it finds secret codes in documents
// of up to 200,000 tokens and answers questions about them. It is small enough to be part of the
// program and to run on any CPU, and every token of a right answer comes from attention to one line
// somewhere in the document, so that an answer shows at once whether a cluster holds and merges its
// KV cache rightly. research/README.md says how it was trained and how often it is right.
//
// [Open] opens it. [Compose] writes a document: lines of a glossary, with codes hidden at even depths.
// A conversation is the document as plain text, then turns:
//
//	falcon (noun): diurnal birds of prey having long pointed powerful wings …
//	The secret code of the amber falcon is 48213.
//	…
//	<|im_start|>user
//	What is the secret code of the amber falcon?<|im_end|>
//	<|im_start|>assistant
//	The secret code of the amber falcon is 48213.<|im_end|>
//
// The glossary is WordNet 3.0's (LICENSE.wordnet).
package recall
