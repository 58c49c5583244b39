// Package sampling chooses the next token from a model's logits.
//
// [Params] say how; their zero value is greedy: the largest logit, the lowest id among equals. Otherwise
// the filters apply in the order in which Hugging Face transformers applies its warpers, each to what the
// one before has left, renormalised:
//
//  1. temperature divides the logits;
//  2. top-k keeps the k largest, and what equals the k-th;
//  3. top-p keeps the fewest tokens, most probable first, whose probabilities add up to p (Holtzman et
//     al., "The Curious Case of Neural Text Degeneration", 2020, section 3.1);
//  4. min-p keeps the tokens at least min-p times as probable as the most probable (Nguyen et al.,
//     "Turning Up the Heat", 2024, section 3).
//
// (vLLM differs in applying min-p before top-k and top-p, which matters only where top-p renormalises.)
// What is left lies on a line from 0 to 1, in order of the tokens' ids, each as long as it is probable: the
// token in which the random number falls is drawn.
//
// Sampling has no state. The random number is a function of the seed and the position of the token, so
// that every node draws the same, a generation can be taken up anywhere, and speculation can be checked.
// (The exponential may differ in its last bit between processor architectures, which can only matter for a
// number that falls within that bit of the border between two tokens. A GPU that draws by itself rounds weights as float32 does: there
// it is a number within 1e-7 of the border.)
package sampling
