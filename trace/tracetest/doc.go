// Package tracetest holds traces to what they claim, in the tests of whoever makes them.
package tracetest
