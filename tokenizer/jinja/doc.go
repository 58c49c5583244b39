// Package jinja runs the templates that come with models: programs in Jinja, which nobody here has read.
//
// What it does with a template is what jinja2 3.1.6 does, set up as transformers sets it up for chat templates: blocks
// are trimmed, nothing is escaped, values cannot be changed (a namespace and list.append are the exceptions). It knows
// the statements, filters, tests and methods that chat templates use; what it does not know is refused when the
// template is parsed, by name and line. Text is Unicode, positions in it count characters, and integers that do not
// fit 64 bits are an error.
//
// A template is bounded, whatever it says:
//
//   - parse.go bounds its size, and how deeply it nests.
//   - Nothing outside it can be reached: no file, no other template, no Go value that was not handed to it.
//   - Every step of a rendering is paid for before it is done (work.go): each expression and statement, each byte that
//     is made, each item that is kept. The purse is filled once, by the size of the variables that the template is
//     given, so that it bounds time and memory together, on every machine at the same place.
//
// A template that asks for more than that, calls itself too deeply or is wrong ends with an error that names its line.
package jinja
