// Command amx runs a program on a processor without AMX: it carries out the program's instructions for tiles, and grants it their use. The assembly for AMX is tested so, as
// that for ARM is with QEMU, which has no tiles:
//
//	go build -o /tmp/amx ./research/amx
//	go test -exec /tmp/amx ./device/cpu/simd ./device/cpu
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: amx PROGRAM [ARGUMENT…], on Linux on x86-64; as in: go test -exec /tmp/amx ./device/cpu/simd")
		os.Exit(2)
	}
	err := run(os.Args[1], os.Args[2:])
	var ended exit
	if errors.As(err, &ended) {
		os.Exit(int(ended))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "amx:", err)
		os.Exit(1)
	}
}

// exit is the status of a program that has ended with another than 0.
type exit int

func (e exit) Error() string { return fmt.Sprintf("status %d", int(e)) }
