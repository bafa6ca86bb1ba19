package resource

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource/shape"
)

// AuditSettings say how long audit entries are kept and where they go. They are the value of
// the setting "audit".
type AuditSettings struct {
	Retention time.Duration // 0: for ever
	Sinks     []AuditSink
}

// The kinds of sinks.
const (
	SinkFile     = "file"
	SinkSyslog   = "syslog"
	SinkCallback = "callback"
)

// AuditSink is where audit entries are delivered to, each at least once and in order.
type AuditSink struct {
	Name     string `json:"name,omitempty"` // unique; default: the kind
	Kind     string `json:"kind"`
	Path     string `json:"path,omitempty"`     // file: relative to the leader's data folder
	Address  string `json:"address,omitempty"`  // syslog: tcp://host:601, udp://host:514, tls://host:6514 or unix:///dev/log
	Facility string `json:"facility,omitempty"` // syslog: default log_audit
	Callback string `json:"callback,omitempty"` // callback: name of one of the cluster
}

// Facilities are the facilities of syslog (RFC 5424 §6.2.1) by name.
var Facilities = map[string]int{
	"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9,
	"authpriv": 10, "ftp": 11, "ntp": 12, "log_audit": 13, "log_alert": 14, "clock": 15, "local0": 16, "local1": 17,
	"local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

// maxSinks is the most sinks of a cluster.
const maxSinks = 16

// ParseAudit reads the value of the setting "audit", strictly.
func ParseAudit(value json.RawMessage) (AuditSettings, error) {
	var in struct {
		Retention string      `json:"retention"`
		Sinks     []AuditSink `json:"sinks"`
	}
	if err := shape.ReadKnown(value, &in); err != nil {
		return AuditSettings{}, invalidShape("", err)
	}
	out := AuditSettings{Sinks: in.Sinks}
	var err error
	if out.Retention, err = parseRetention(in.Retention); err != nil {
		return AuditSettings{}, err
	}
	if len(in.Sinks) > maxSinks {
		return AuditSettings{}, invalidf("sinks", "%d are more than %d", len(in.Sinks), maxSinks)
	}
	seen := map[string]bool{}
	for i := range out.Sinks {
		s := &out.Sinks[i]
		if s.Name == "" {
			s.Name = s.Kind
		}
		if err := s.validate(fmt.Sprintf("sinks[%d]", i)); err != nil {
			return AuditSettings{}, err
		}
		if seen[s.Name] {
			return AuditSettings{}, invalidf(fmt.Sprintf("sinks[%d].name", i), "%q is the name of another sink", s.Name)
		}
		seen[s.Name] = true
	}
	return out, nil
}

// parseRetention reads "forever", a number of days such as 365d, or a duration.
func parseRetention(text string) (time.Duration, error) {
	if text == "" || text == "forever" {
		return 0, nil
	}
	var d time.Duration
	var err error
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int64
		if n, err = strconv.ParseInt(days, 10, 32); n <= 100_000 {
			d = time.Duration(n) * 24 * time.Hour
		}
	} else {
		d, err = time.ParseDuration(text)
	}
	if err != nil || d < time.Hour {
		return 0, invalidf("retention", "%q is not forever, days such as 365d, or a duration of an hour or more", text)
	}
	return d, nil
}

func (s *AuditSink) validate(field string) error {
	if err := validName(field+".name", s.Name); err != nil {
		return err
	}
	given := map[string]string{"path": s.Path, "address": s.Address, "callback": s.Callback, "facility": s.Facility}
	var need string
	switch s.Kind {
	case SinkFile:
		need = "path"
	case SinkSyslog:
		need = "address"
		if _, ok := Facilities[s.Facility]; s.Facility != "" && !ok {
			return invalidf(field+".facility", "%q is not a facility such as log_audit, auth or local0", s.Facility)
		}
		delete(given, "facility")
	case SinkCallback:
		need = "callback"
	default:
		return invalidf(field+".kind", "%q is not one of file, syslog, callback", s.Kind)
	}
	if given[need] == "" {
		return invalidf(field+"."+need, "a %s sink has one", s.Kind)
	}
	delete(given, need)
	for _, name := range sortedKeys(given) {
		if given[name] != "" {
			return invalidf(field+"."+name, "a %s sink has none", s.Kind)
		}
	}
	if s.Kind == SinkSyslog {
		if _, _, err := s.Dial(); err != nil {
			return invalidf(field+".address", "%s", err)
		}
	}
	return nil
}

// Dial splits the address of a syslog sink into a network (tcp, udp, tls or unix) and what
// to dial there.
func (s *AuditSink) Dial() (network, address string, err error) {
	u, err := url.Parse(s.Address)
	if err != nil {
		return "", "", fmt.Errorf("%q is not a URL such as tcp://host:601", s.Address)
	}
	ports := map[string]string{"tcp": "601", "udp": "514", "tls": "6514"}
	switch port, ok := ports[u.Scheme]; {
	case u.Scheme == "unix" && u.Host == "" && filepath.IsAbs(u.Path):
		return "unix", u.Path, nil
	case !ok || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.User != nil:
		return "", "", fmt.Errorf("%q is not one of tcp://host:601, udp://host:514, tls://host:6514, unix:///dev/log", s.Address)
	case u.Port() != "":
		return u.Scheme, u.Host, nil
	default:
		return u.Scheme, u.Host + ":" + port, nil
	}
}
