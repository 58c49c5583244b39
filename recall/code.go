package recall

// Code is one secret code of a document.
type Code struct {
	Name  string  // whose code it is: "amber falcon"
	Code  string  // 4 to 6 digits
	Depth float64 // part of the document's tokens that come before it, from 0 to 1
}

// Question asks for the code.
func (c Code) Question() string { return "What is the secret code of the " + c.Name + "?" }

// Answer is what the document says, and what the model should.
func (c Code) Answer() string { return "The secret code of the " + c.Name + " is " + c.Code + "." }

// FirstTurn is the question as the first turn after a document, up to where the model answers.
func (c Code) FirstTurn() string {
	return "<|im_start|>user\n" + c.Question() + "<|im_end|>\n<|im_start|>assistant\n"
}

// NextTurn is the question as a further turn, after the token that ended the last answer.
func (c Code) NextTurn() string { return "\n" + c.FirstTurn() }
