package auditlog

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/resource"
)

// Severities of syslog (RFC 5424 §6.2.1).
const (
	severityWarning = 4 // what failed or was denied
	severityNotice  = 5 // the rest
)

const (
	maxDatagram  = 60_000 // bytes; an entry over it goes without its documents
	dialTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
	settleTime   = time.Second // for which a connection must last after a write, that this counts as received
)

// syslog sends entries as RFC 5424 has it: a datagram each over UDP and to a local socket,
// and with octet counting (RFC 6587 §3.4.1, RFC 5425) over TCP and TLS.
type syslog struct {
	sink     resource.AuditSink
	host     string
	facility int
	dialer   func(ctx context.Context, network, addr string) (net.Conn, error)

	conn   net.Conn     // nil: not connected
	stream bool         // conn needs octet counting
	unsure []audit.Line // written last: gone if the connection then breaks
	wrote  time.Time    // when
}

func newSyslog(s resource.AuditSink, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *syslog {
	if dial == nil {
		dial = egress.Direct(nil).DialContext
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "-"
	}
	facility, ok := resource.Facilities[s.Facility]
	if !ok {
		facility = resource.Facilities["log_audit"]
	}
	return &syslog{sink: s, host: host, facility: facility, dialer: dial}
}

// deliver implements sink. Syslog has no receipts: what was written last before the
// connection broke is sent again.
func (s *syslog) deliver(ctx context.Context, lines []audit.Line) (int, error) {
	if s.conn != nil && s.stream && gone(s.conn) {
		s.close()
	}
	if s.conn == nil {
		if err := s.again(ctx); err != nil {
			return 0, err
		}
	}
	if err := s.write(lines); err != nil {
		return 0, err
	}
	if s.stream {
		s.unsure = lines
	}
	return len(lines), nil
}

// again connects, and sends what was written last.
func (s *syslog) again(ctx context.Context) error {
	if err := s.dial(ctx); err != nil {
		return err
	}
	return s.write(s.unsure)
}

func (s *syslog) write(lines []audit.Line) error {
	for i := range lines {
		if err := s.send(&lines[i]); err != nil {
			s.close()
			return err
		}
	}
	s.wrote = time.Now()
	return nil
}

// receipts implements sink: of datagrams nobody ever learns more.
func (s *syslog) receipts() bool { return !s.stream }

// settled implements sink: what was written on a connection that lasts was received.
func (s *syslog) settled(ctx context.Context) (bool, error) {
	if !s.stream {
		return true, nil
	}
	if s.conn == nil || gone(s.conn) {
		s.close()
		return false, s.again(ctx)
	}
	return time.Since(s.wrote) >= settleTime, nil
}

func (s *syslog) dial(ctx context.Context) error {
	network, address, err := s.sink.Dial()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	switch network {
	case "tls":
		s.conn, err = s.dialTLS(ctx, address)
		s.stream = true
	case "unix":
		s.stream = false
		if s.conn, err = s.dialer(ctx, "unixgram", address); err != nil {
			s.conn, err = s.dialer(ctx, "unix", address)
			s.stream = true
		}
	default:
		s.conn, err = s.dialer(ctx, network, address)
		s.stream = network == "tcp"
	}
	if err != nil {
		s.conn = nil
		return fmt.Errorf("connect to syslog: %w", err)
	}
	return nil
}

func (s *syslog) dialTLS(ctx context.Context, address string) (net.Conn, error) {
	raw, err := s.dialer(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(address)
	c := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host})
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

func (s *syslog) send(l *audit.Line) error {
	msg, err := s.message(&l.AuditEntry)
	if err == nil && !s.stream && len(msg) > maxDatagram {
		short := l.AuditEntry
		short.Before, short.After = nil, nil
		msg, err = s.message(&short)
	}
	if err != nil {
		return err
	}
	if s.stream {
		msg = append([]byte(strconv.Itoa(len(msg))+" "), msg...)
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("write to syslog: %w", err)
	}
	if _, err := s.conn.Write(msg); err != nil {
		return fmt.Errorf("write to syslog: %w", err)
	}
	return nil
}

// message formats an entry: the header, what is searched for as structured data, and the
// entry in JSON.
func (s *syslog) message(e *resource.AuditEntry) ([]byte, error) {
	severity := severityNotice
	if e.Outcome != "" {
		severity = severityWarning
	}
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode audit entry: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s conclave - %s [audit@32473", s.facility*8+severity,
		e.At.Std().Format("2006-01-02T15:04:05.000000Z07:00"), headerText(s.host, 255), headerText(e.Action, 32))
	for _, p := range []struct{ name, v string }{
		{"number", audit.ID(e.Number)},
		{"index", strconv.FormatUint(e.Index, 10)},
		{"actor", e.Actor},
		{"address", e.Address},
		{"kind", e.Kind},
		{"id", e.ID},
		{"outcome", e.Outcome},
		{"request", e.RequestID},
		{"hash", e.Hash.String()},
	} {
		if p.v != "" {
			fmt.Fprintf(&b, ` %s="%s"`, p.name, escapeParam.Replace(p.v))
		}
	}
	b.WriteString("] ")
	b.Write(body)
	return []byte(b.String()), nil
}

// escapeParam escapes the value of structured data (RFC 5424 §6.3.3).
var escapeParam = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// headerText is a field of the header: printable ASCII without spaces, or "-".
func headerText(s string, limit int) string {
	out := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	if out == "" {
		return "-"
	}
	return out[:min(len(out), limit)]
}

// gone says that the other side has closed the connection: a receiver of syslog says
// nothing else.
func gone(c net.Conn) bool {
	if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return true
	}
	_, err := c.Read(make([]byte, 1))
	if err == nil {
		return false
	}
	ne, ok := errors.AsType[net.Error](err)
	return errors.Is(err, io.EOF) || !ok || !ne.Timeout()
}

func (s *syslog) close() {
	if s.conn != nil {
		_ = s.conn.Close() // what was written is sent again or was received
		s.conn = nil
	}
}
