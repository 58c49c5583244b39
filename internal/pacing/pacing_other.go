//go:build !linux

package pacing

// Off does nothing: macOS has no control that paces.
func Off(int) {}
