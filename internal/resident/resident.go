// Package resident says how much memory this process has in use.
package resident

// Bytes is the memory that this process has resident: of the Go heap, mapped otherwise, and the pages of files,
// the program's own among them. Where the system tells only the most that there ever was, it is that.
func Bytes() (int64, error) { return bytes() }
