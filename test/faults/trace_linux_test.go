//go:build e2e

package faults

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// sent is a kind of packets that a network namespace sends, whichever device takes them.
type sent struct {
	proto string // "tcp", "udp", "ip 1", "ethertype 0806"
	from  string // of datagrams: where an answer goes
	to    string // address and port
}

func (s sent) String() string {
	if s.from == "" {
		return strings.TrimSpace(s.proto + " to " + s.to)
	}
	return s.proto + " from " + s.from + " to " + s.to
}

// trace counts what is sent in this process's network namespace, on loopback, too: of connections their first packets, of
// all else every packet.
type trace struct {
	fd   int
	stop chan struct{}
	wg   sync.WaitGroup

	mu   sync.Mutex // guards seen
	seen map[sent]int
}

// beginnings keeps what a trace counts: everything but TCP's packets after the first of a connection. A packet comes without
// its link header.
var beginnings = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtProto},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_TCP, SkipTrue: 4},
	bpf.LoadMemShift{Off: 0},
	bpf.LoadIndirect{Off: 13, Size: 1},
	bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: tcpSyn | tcpAck},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: tcpSyn, SkipTrue: 1},
	bpf.RetConstant{Val: headers},
	bpf.RetConstant{Val: 0},
}

const (
	tcpSyn, tcpAck = 0x02, 0x10
	headers        = 128 // bytes of a packet that are read
)

// startTrace begins to count. The namespace's end needs root.
func startTrace(t *testing.T) *trace {
	t.Helper()
	raw, err := bpf.Assemble(beginnings)
	if err != nil {
		t.Fatal(err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // of no protocol, until it is filtered
	if err != nil {
		t.Fatalf("trace packets: %v", err)
	}
	all := uint16(unix.ETH_P_ALL)
	if err := errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8}),
	); err != nil {
		t.Fatalf("trace packets: %v", err)
	}
	tr := &trace{fd: fd, stop: make(chan struct{}), seen: map[sent]int{}}
	tr.wg.Go(tr.read)
	return tr
}

func (tr *trace) read() {
	buf := make([]byte, headers)
	for {
		select {
		case <-tr.stop:
			return
		default:
		}
		n, from, err := unix.Recvfrom(tr.fd, buf, 0)
		link, ok := from.(*unix.SockaddrLinklayer)
		if err != nil || !ok || link.Pkttype != unix.PACKET_OUTGOING { // nothing for a while, or what comes in
			continue
		}
		s := packet(link.Protocol<<8|link.Protocol>>8, buf[:n])
		tr.mu.Lock()
		tr.seen[s]++
		tr.mu.Unlock()
	}
}

// packet says where a packet goes.
func packet(ethertype uint16, b []byte) sent {
	if ethertype != unix.ETH_P_IP || len(b) < 20 {
		return sent{proto: fmt.Sprintf("ethertype %04x", ethertype)}
	}
	from, to := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	body := b[min(len(b), int(b[0]&15)*4):]
	if proto := b[9]; len(body) < 4 || proto != unix.IPPROTO_TCP && proto != unix.IPPROTO_UDP {
		return sent{proto: fmt.Sprint("ip ", proto), to: to.String()}
	}
	s := sent{proto: "tcp", to: netip.AddrPortFrom(to, binary.BigEndian.Uint16(body[2:])).String()}
	if b[9] == unix.IPPROTO_UDP {
		s.proto, s.from = "udp", netip.AddrPortFrom(from, binary.BigEndian.Uint16(body)).String()
	}
	return s
}

// lines are what was sent, the largest numbers first.
func (tr *trace) lines() (list []string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, s := range slices.SortedFunc(maps.Keys(tr.seen), func(a, b sent) int { return cmp.Compare(tr.seen[b], tr.seen[a]) }) {
		list = append(list, fmt.Sprintf("%8d %s", tr.seen[s], s))
	}
	return list
}

// end stops counting. The test fails if the kernel has lost packets of the trace.
func (tr *trace) end(t *testing.T) {
	t.Helper()
	close(tr.stop)
	tr.wg.Wait()
	stats, err := unix.GetsockoptTpacketStats(tr.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil || stats.Drops > 0 {
		t.Errorf("the trace is not whole: %d packets lost, %v", stats.Drops, err)
	}
	_ = unix.Close(tr.fd)
}

// strange is what was sent to other addresses than the known ones, and is no datagram that answers one of theirs. What the kernel
// says on loopback when nobody listens is no attempt of anybody.
func (tr *trace) strange(known map[string]bool) (list []sent) {
	for s := range tr.seen {
		if !known[s.to] && !known[s.from] && s != (sent{proto: "ip 1", to: "127.0.0.1"}) {
			list = append(list, s)
		}
	}
	return list
}
