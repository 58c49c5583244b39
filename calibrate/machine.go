package calibrate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"

	"github.com/klauspost/cpuid/v2"
)

// Identity is what measurements hold for: another one makes them worthless.
type Identity struct {
	CPU     string `json:"cpu"`     // model of the processor
	CPUs    string `json:"cpus"`    // processors that may be used, see CPUs
	Device  string `json:"device"`  // with its threads and instruction set
	Memory  int64  `json:"memory"`  // of the machine, bytes
	System  string `json:"system"`  // operating system and architecture
	Version string `json:"version"` // of the program
	Method  int    `json:"method"`  // of measuring
}

// method counts changes to what is measured and how.
const method = 11

// Identify is the identity of a device on this machine, by its name.
func Identify(device, version string) (Identity, error) {
	memory, err := machineMemory()
	if err != nil {
		return Identity{}, fmt.Errorf("memory of the machine: %w", err)
	}
	c := &cpuid.CPU
	model := c.BrandName
	if model == "" {
		model = fmt.Sprintf("%s family %d model %d", c.VendorString, c.Family, c.Model)
	}
	return Identity{CPU: model, CPUs: CPUs(), Device: device, Memory: memory, System: runtime.GOOS + "/" + runtime.GOARCH, Version: version, Method: method}, nil
}

// Machine tells this machine, as long as it runs, from others; "" if it has no name for that.
func Machine() string {
	id, err := bootID()
	if err != nil || id == "" {
		return ""
	}
	return digest(id)
}

// CPUs is the processors that this process may use, as "0-3,8"; a digest if that is long. Where the system
// does not tell, it is how many there are.
func CPUs() string {
	list := cpuList()
	if list == "" {
		return fmt.Sprint(runtime.NumCPU())
	}
	if len(list) > 16 {
		return digest(list)
	}
	return list
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
