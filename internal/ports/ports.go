// Package ports gives tests and test rigs ports on loopback that nobody else gets: neither another
// process that asks this package, nor one that lets the system choose.
//
// A port that was found by listening on port 0 and closing again may be anybody's before the node that it is for
// listens there, and again while that node is down between two starts.
package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

const (
	// Size is how many ports a block has.
	Size = 100

	first = 10000 // what lies below belongs to services
	last  = 32768 // where systems begin to give ports out by themselves
	least = 1000  // ports that must be left below the system's, or its range is not heeded
)

// ErrNone says that every port is taken.
var ErrNone = errors.New("no port is free")

// given is what this process has.
var given struct {
	mu     sync.Mutex // guards what follows
	blocks []int      // the first port of each
	locks  []*os.File // of the blocks, held to the process's end
	next   int        // of the newest block: how many ports were given
}

// Addr is an address of the loopback, free for TCP and UDP, on a port that no other process gets
// while this one runs.
func Addr() (string, error) {
	given.mu.Lock()
	defer given.mu.Unlock()
	for {
		for n := len(given.blocks); n > 0 && given.next < Size; {
			addr := address(given.blocks[n-1] + given.next)
			given.next++
			if free(addr) {
				return addr, nil
			}
		}
		if _, err := take(os.Getpid() * 7); err != nil {
			return "", err
		}
		given.next = 0
	}
}

// Block is the first of Size ports, all free now, that no other process gets while this one runs.
func Block() (int, error) {
	given.mu.Lock()
	defer given.mu.Unlock()
	for {
		base, err := take(os.Getpid() * 7)
		if err != nil {
			return 0, err
		}
		given.next = Size // none of it is for Addr
		if all(base) {
			return base, nil
		}
	}
}

// take locks a block that no process has, the first from the one with a number on, which is another for each
// process, so that they seldom try each other's. A lock ends with the process, however that ends.
func take(from int) (int, error) {
	dir := filepath.Join(os.TempDir(), "conclave-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("lock ports: %w", err)
	}
	count := (limit() - first) / Size
	for i := range count {
		base := first + (from+i)%count*Size
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(base)), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return 0, fmt.Errorf("lock ports: %w", err)
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			_ = f.Close() // another's, or our own
			continue
		}
		given.blocks, given.locks = append(given.blocks, base), append(given.locks, f)
		return base, nil
	}
	return 0, ErrNone
}

// limit is the first port that is not ours: where the system's own begin, if that leaves enough.
func limit() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return last
	}
	return below(string(b))
}

// below reads the system's range.
func below(text string) int {
	var low int
	if _, err := fmt.Sscan(text, &low); err != nil || low < first+least {
		return last
	}
	return min(low, last)
}

// all says whether every port of a block is free.
func all(base int) bool {
	for i := range Size {
		if !free(address(base + i)) {
			return false
		}
	}
	return true
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// free says that nobody listens there, by TCP or UDP.
func free(addr string) bool {
	var lc net.ListenConfig
	tcp, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return false
	}
	udp, err := lc.ListenPacket(context.Background(), "udp", addr)
	if err == nil {
		err = udp.Close()
	}
	return errors.Join(err, tcp.Close()) == nil
}
