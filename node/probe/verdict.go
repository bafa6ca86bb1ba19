package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// Result is what a probe found.
type Result uint8

// The results. Their numbers stand in messages between nodes.
const (
	Pending    Result = 0 // it is being asked
	Reachable  Result = 1 // it answered
	Connection Result = 2 // there was no connection
	TimedOut   Result = 3
	TLS        Result = 4 // its certificate is not accepted
	Credential Result = 5 // it does not accept the deployment's credential
	Failing    Result = 6 // it answered with a status from 500 on
	Unusable   Result = 7 // the deployment's own record is at fault, or the node may not dial it
	Refused    Result = 8 // it refused the request, with a status below 500
	results           = 9
)

// String names the result in metrics and answers.
func (r Result) String() string {
	return [results]string{"pending", "reachable", "connection", "timeout", "tls", "credential", "failing", "unusable", "refused"}[r]
}

// Healthy says whether the backend can take requests, as far as a probe can tell.
func (r Result) Healthy() bool { return r == Reachable }

// Verdict is what one probe found.
type Verdict struct {
	Slot   int64
	Every  time.Duration // length of the slot
	Result Result
	Status int // that it answered; 0: none
	At     time.Time
	Took   time.Duration

	before *Verdict // while it is Pending
}

// settled is the newest that is not pending; nil: there is none.
func (v *Verdict) settled() *Verdict {
	switch {
	case v.Result != Pending:
		done := *v
		return &done
	default:
		return v.before
	}
}

// Reason says in words what is wrong, "" for nothing.
func (v *Verdict) Reason() string {
	text := [results]string{
		Connection: "no connection to the provider", TimedOut: "the provider did not answer in time",
		TLS: "the provider's certificate is not accepted", Credential: "the provider does not accept the credential",
		Failing: "the provider fails", Unusable: "the deployment cannot be asked",
		Refused: "the provider refuses the request",
	}[v.Result]
	if text != "" && v.Status != 0 {
		return fmt.Sprintf("%s (status %d)", text, v.Status)
	}
	return text
}

// judge makes a verdict of a probe's error. A provider that refuses the list of models, or has none
// after all, can be reached.
func judge(err error) Verdict {
	if err == nil {
		return Verdict{Result: Reachable, Status: http.StatusOK}
	}
	var e *llm.Error
	if !errors.As(err, &e) {
		if errors.Is(err, context.DeadlineExceeded) {
			return Verdict{Result: TimedOut}
		}
		return Verdict{Result: Unusable}
	}
	var bad *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	switch {
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.Kind == llm.Unauthenticated:
		return Verdict{Result: Credential, Status: e.Status}
	case e.Status >= 500:
		return Verdict{Result: Failing, Status: e.Status}
	case e.Status > 0:
		return Verdict{Result: Reachable, Status: e.Status}
	case e.Kind == llm.Timeout:
		return Verdict{Result: TimedOut}
	case errors.As(err, &bad) || errors.As(err, &unknown):
		return Verdict{Result: TLS}
	case e.Kind == llm.Internal:
		return Verdict{Result: Unusable}
	}
	return Verdict{Result: Connection}
}

// The form of what is shared: a version, then an entry for each backend.
const (
	formVersion = 1
	entryLen    = 8 + 8 + 4 + 1 + 2 + 4 + 8
	mostEntries = (900 - 1) / entryLen
	tellFirst   = 4 // times that a new verdict goes before the others
)

// Topic implements the gossip's Sharer.
func (p *Prober) Topic() byte { return p.kind.topic }

// Share implements the gossip's Sharer: new verdicts first, the others in turn.
func (p *Prober) Share() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) == 0 {
		return nil
	}
	all := make([]*backend, 0, len(p.known))
	for _, b := range p.known {
		if b.last.Every > 0 {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b *backend) int {
		if a.hash < b.hash {
			return -1
		}
		return 1
	})
	out := append(make([]byte, 0, 900), formVersion)
	room := mostEntries
	for _, b := range all {
		if b.told < tellFirst && room > 0 {
			b.told++
			room--
			out = appendEntry(out, b)
		}
	}
	for i := 0; i < len(all) && room > 0; i++ {
		p.next = (p.next + 1) % len(all)
		room--
		out = appendEntry(out, all[p.next])
	}
	return out
}

func appendEntry(out []byte, b *backend) []byte {
	v := &b.last
	out = binary.LittleEndian.AppendUint64(out, b.hash)
	out = binary.LittleEndian.AppendUint64(out, uint64(v.Slot))
	out = binary.LittleEndian.AppendUint32(out, uint32(v.Every/time.Second))
	out = append(out, byte(v.Result))
	out = binary.LittleEndian.AppendUint16(out, uint16(v.Status))
	out = binary.LittleEndian.AppendUint32(out, uint32(min(v.Took.Milliseconds(), math.MaxUint32)))
	return binary.LittleEndian.AppendUint64(out, uint64(v.At.UnixNano()))
}

// Merge implements the gossip's Sharer: of two slots the later counts, and of one the verdict.
func (p *Prober) Merge(_ string, payload []byte) {
	if len(payload) < 1 || payload[0] != formVersion || (len(payload)-1)%entryLen != 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for b := payload[1:]; len(b) > 0; b = b[entryLen:] {
		h, v, ok := readEntry(b[:entryLen])
		if !ok {
			return
		}
		p.mergeLocked(h, v)
	}
}

func readEntry(b []byte) (h uint64, v Verdict, ok bool) {
	h = binary.LittleEndian.Uint64(b)
	v = Verdict{
		Slot: int64(binary.LittleEndian.Uint64(b[8:])), Every: time.Duration(binary.LittleEndian.Uint32(b[16:])) * time.Second,
		Result: Result(b[20]), Status: int(binary.LittleEndian.Uint16(b[21:])),
		Took: time.Duration(binary.LittleEndian.Uint32(b[23:])) * time.Millisecond,
		At:   time.Unix(0, int64(binary.LittleEndian.Uint64(b[27:]))),
	}
	return h, v, v.Result < results && v.Every > 0
}

func (p *Prober) mergeLocked(h uint64, v Verdict) {
	b := p.backendLocked(h)
	same := b.last.Every == v.Every && b.last.Slot == v.Slot
	switch {
	case same && (b.last.Result != Pending || v.Result == Pending):
		return
	case !same && !v.At.After(b.last.At):
		return
	case v.Result == Pending:
		v.before = b.last.settled()
		b.last, b.told = v, 0
	case same && b.last.before != nil && b.last.before.At.Equal(v.At): // it was skipped
		b.last, b.told = v, 0
	default:
		p.noteLocked(b, v)
	}
}
