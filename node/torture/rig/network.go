package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Network is a bridge with a network namespace for each node; this process and what listens at the
// gateway are reached from all of them.
type Network struct {
	nodes  int
	bridge string
	subnet string // "10.199.7", of its own

	mu   sync.Mutex // guards lost
	lost [][2]int   // from and to of what gets lost
}

// networks counts those of this process, so that each begins to look for its names elsewhere.
var networks atomic.Int64

// spaces is how many networks a machine may have at a time: 10.192.0 to 10.255.249.
const spaces = 64 * 250

// subnet is that of the network with a number, and no other's.
func subnet(id int) string { return fmt.Sprintf("10.%d.%d", 192+id/250, id%250) }

// MayPart says why no Network can be made here; nil: one can.
func MayPart() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for _, tool := range []string{"ip", "bridge", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("network namespaces need iproute2 and util-linux: %w", err)
		}
	}
	return nil
}

// NewNetwork makes a network for n nodes. Its owner closes it.
func NewNetwork(n int) (_ *Network, err error) {
	if err := MayPart(); err != nil {
		return nil, err
	}
	w, err := claim(n, os.Getpid()*31+int(networks.Add(1)))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	steps := [][]string{
		{"addr", "add", w.Gateway() + "/24", "dev", w.bridge},
		{"link", "set", w.bridge, "up"},
	}
	for i := range n {
		ns, port := w.Space(i), w.plug(i)
		steps = append(steps,
			[]string{"netns", "add", ns},
			[]string{"link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns},
			[]string{"link", "set", port, "master", w.bridge, "up"},
			[]string{"-n", ns, "addr", "add", w.Host(i) + "/24", "dev", "eth0"},
			[]string{"-n", ns, "link", "set", "eth0", "up"},
			[]string{"-n", ns, "link", "set", "lo", "up"},
		)
	}
	for _, args := range steps {
		if err := command("ip", args...); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// claim makes a bridge whose number, and so whose subnet, nobody else on this machine has: the first free one
// from a number on.
func claim(n, from int) (*Network, error) {
	for i := range spaces {
		id := (from + i) % spaces
		w := &Network{nodes: n, bridge: fmt.Sprint("cnb", id), subnet: subnet(id)}
		used, err := w.used()
		if err != nil {
			return nil, err
		}
		if used {
			continue
		}
		if err = command("ip", "link", "add", w.bridge, "type", "bridge"); err == nil {
			return w, nil
		}
		if _, taken := net.InterfaceByName(w.bridge); taken != nil {
			return nil, err // it is not that another was faster
		}
	}
	return nil, errors.New("every subnet is in use")
}

// used says whether this machine has an address in the subnet already.
func (w *Network) used() (bool, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false, fmt.Errorf("list this machine's addresses: %w", err)
	}
	return slices.ContainsFunc(all, func(a net.Addr) bool { return strings.HasPrefix(a.String(), w.subnet+".") }), nil
}

// Space is the namespace of a node.
func (w *Network) Space(i int) string { return fmt.Sprint(w.bridge, "n", i) }

// Within is a program and its arguments, as they are run in the namespace of a node: nsenter becomes the program and has its process id.
// Not ip netns exec, which would keep in a namespace of its own whatever is mounted now, also after it is unmounted here.
func (w *Network) Within(i int, args []string) []string {
	return append([]string{"nsenter", "--net=/run/netns/" + w.Space(i), "--"}, args...)
}

// Host is the address of a node.
func (w *Network) Host(i int) string { return fmt.Sprint(w.subnet, ".", 11+i) }

// Gateway is the address of this process.
func (w *Network) Gateway() string { return w.subnet + ".1" }

func (w *Network) plug(i int) string { return fmt.Sprint(w.bridge, "p", i) }

// toolWait is how long a tool of the system may take.
const toolWait = 30 * time.Second

func command(name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), toolWait)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil { //nolint:gosec // tools of iproute2, with names of our own
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// Close takes the network down.
func (w *Network) Close() {
	for i := range w.nodes {
		_ = command("ip", "link", "del", w.plug(i)) // it may be gone already, as all of these
		_ = command("ip", "netns", "del", w.Space(i))
	}
	_ = command("ip", "link", "del", w.bridge)
}

// Cut parts every node from every other; clients and the gateway still reach all.
func (w *Network) Cut() error { return w.isolate("on") }

// Mute loses what node i sends to the other nodes; clients and the gateway still reach it.
func (w *Network) Mute(i int) error {
	for j := range w.nodes {
		if err := w.lose(i, j); err != nil {
			return err
		}
	}
	return nil
}

// Deafen loses what the other nodes send to node i.
func (w *Network) Deafen(i int) error {
	for j := range w.nodes {
		if err := w.lose(j, i); err != nil {
			return err
		}
	}
	return nil
}

// nowhere is an address on the wire that nobody has.
const nowhere = "02:00:00:00:00:fe"

// lose sends the packets of a node for another one to nobody, without a word to the sender.
func (w *Network) lose(from, to int) error {
	if from == to {
		return nil
	}
	if err := command("ip", "-n", w.Space(from), "neigh", "replace", w.Host(to), "lladdr", nowhere, "nud", "permanent", "dev", "eth0"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = append(w.lost, [2]int{from, to})
	return nil
}

// Heal undoes Cut, Mute and Deafen.
func (w *Network) Heal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := []error{w.isolate("off")}
	seen := map[[2]int]bool{}
	for _, l := range w.lost {
		if !seen[l] {
			errs = append(errs, command("ip", "-n", w.Space(l[0]), "neigh", "del", w.Host(l[1]), "dev", "eth0"))
		}
		seen[l] = true
	}
	w.lost = nil
	return errors.Join(errs...)
}

// Narrow lets no more than a rate, such as "1mbit", reach node i, from nodes, clients and the upstream;
// "" ends that. It needs tc.
func (w *Network) Narrow(i int, rate string) error {
	if rate == "" {
		return command("tc", "qdisc", "del", "dev", w.plug(i), "root")
	}
	return command("tc", "qdisc", "add", "dev", w.plug(i), "root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms")
}

func (w *Network) isolate(how string) error {
	for i := range w.nodes {
		if err := command("bridge", "link", "set", "dev", w.plug(i), "isolated", how); err != nil {
			return err
		}
	}
	return nil
}
