package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
)

// deviceFlags choose what to compute on.
type deviceFlags struct {
	Device deviceFlag `help:"What to compute on: cpu, metal, cuda, cuda:1 for the second, emulator, or auto for a GPU where there is one and else the CPU." default:"auto" placeholder:"DEVICE"`
}

// deviceFlag is a device by name.
type deviceFlag string

// UnmarshalText reads the name.
func (d *deviceFlag) UnmarshalText(b []byte) error {
	*d = deviceFlag(b)
	return orrery.CheckDevice(string(b))
}

// addressFlag is where to listen or whom to reach, as 192.168.1.10:7946.
type addressFlag string

// UnmarshalText reads the address. Whether there is such a host is found out when it is used.
func (a *addressFlag) UnmarshalText(b []byte) error {
	_, port, err := net.SplitHostPort(string(b))
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%.80q is not a host and a port of up to 65535, as 192.168.1.10:7946", b)
	}
	*a = addressFlag(b)
	return nil
}

// addressesOf are addresses as they were given.
func addressesOf(flags []addressFlag) []string {
	var all []string
	for _, a := range flags {
		all = append(all, string(a))
	}
	return all
}

// nameFlag is the name of a node.
type nameFlag string

// UnmarshalText reads the name.
func (n *nameFlag) UnmarshalText(b []byte) error {
	*n = nameFlag(b)
	return cluster.CheckName(string(b))
}

// modeFlag is a mode by name.
type modeFlag orrery.Mode

// UnmarshalText reads the name.
func (m *modeFlag) UnmarshalText(b []byte) error {
	mode, err := placement.ParseMode(string(b))
	*m = modeFlag(mode)
	return err
}

// autoFlag is a mode by name, or auto.
type autoFlag orrery.Mode

// UnmarshalText reads the name.
func (m *autoFlag) UnmarshalText(b []byte) error {
	if string(b) == orrery.Auto.String() {
		*m = autoFlag(orrery.Auto)
		return nil
	}
	mode, err := placement.ParseMode(string(b))
	if err != nil {
		return fmt.Errorf("%w, nor auto", err)
	}
	*m = autoFlag(mode)
	return nil
}

// kvFlag is a storage format of keys and values by name.
type kvFlag orrery.KVFormat

// UnmarshalText reads the name.
func (k *kvFlag) UnmarshalText(b []byte) error {
	f, err := attention.ParseFormat(string(b))
	*k = kvFlag(f)
	return err
}

// synchFlag is a way to wait by name.
type synchFlag orrery.Synch

// UnmarshalText reads the name.
func (s *synchFlag) UnmarshalText(b []byte) error {
	synch, err := transport.ParseSynch(string(b))
	*s = synchFlag(synch)
	return err
}

// switchFlag is a list of mode switches, as 64:pooled,128:ring.
type switchFlag []orrery.SwitchAt

// UnmarshalText reads the list.
func (s *switchFlag) UnmarshalText(b []byte) error {
	for _, item := range strings.Split(string(b), ",") {
		at, name, ok := strings.Cut(strings.TrimSpace(item), ":")
		token, err := strconv.Atoi(at)
		if !ok || err != nil || token < 0 {
			return fmt.Errorf("%q is not TOKEN:MODE, as 64:pooled", item)
		}
		mode, err := placement.ParseMode(name)
		if err != nil {
			return err
		}
		if n := len(*s); n > 0 && (*s)[n-1].Token > token {
			return fmt.Errorf("%q comes after a later one", item)
		}
		*s = append(*s, orrery.SwitchAt{Token: token, Mode: mode})
	}
	return nil
}

// levelFlag is a log level by name.
type levelFlag slog.Level

// UnmarshalText reads the name.
func (l *levelFlag) UnmarshalText(b []byte) error {
	switch level := (*slog.Level)(l); string(b) {
	case "debug", "info", "warn", "error":
		return level.UnmarshalText(b)
	}
	return fmt.Errorf("%.20q is not debug, info, warn or error", b)
}

// cpusFlag is processors by their numbers, as 0,2.
type cpusFlag []int

// UnmarshalText reads the numbers.
func (c *cpusFlag) UnmarshalText(b []byte) error {
	*c = nil
	for number := range strings.SplitSeq(string(b), ",") {
		n, err := strconv.ParseUint(number, 10, 10)
		if err != nil {
			return fmt.Errorf("%.20q is not the number of a processor", number)
		}
		*c = append(*c, int(n))
	}
	return nil
}

// String is what UnmarshalText reads.
func (c cpusFlag) String() string {
	numbers := make([]string, len(c))
	for i, n := range c {
		numbers[i] = strconv.Itoa(n)
	}
	return strings.Join(numbers, ",")
}

// ratesFlag is what was measured of a machine, as JSON.
type ratesFlag placement.Rates

// UnmarshalText reads the JSON.
func (r *ratesFlag) UnmarshalText(b []byte) error {
	rates := (*placement.Rates)(r)
	if err := json.Unmarshal(b, rates); err != nil {
		return err
	}
	return rates.Check()
}
