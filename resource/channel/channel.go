// Package channel says which alerts there are and where they go: the kinds of alerts, the
// channels of the setting "alerts", and what a budget says of its own.
package channel

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource/shape"
)

// The types of channels.
const (
	Webhook  = "webhook"  // a signed request with JSON in it
	Slack    = "slack"    // {"text": …}: Slack, Mattermost, Rocket.Chat, Teams
	Email    = "email"    // SMTP
	Callback = "callback" // a callback plugin of the cluster
)

// How a mail server is spoken to.
const (
	StartTLS    = "starttls" // the default
	ImplicitTLS = "tls"
	NoTLS       = "none" // of a server on this machine or in a trusted network
)

// Channel is one place to which alerts go.
type Channel struct {
	Name string `json:"name"`
	Type string `json:"type"`
	// Kinds are the kinds of alerts that go there, names or beginnings such as "budget_*"; empty:
	// all but those that a budget sends elsewhere.
	Kinds []string `json:"kinds,omitempty"`
	// Only says that nothing goes there but what a budget sends by the channel's name.
	Only bool   `json:"only,omitempty"`
	URL  string `json:"url,omitempty"` // of a webhook or slack; a path that is a secret stands in the credential
	// Credential is the name of the one whose api_key signs a webhook, is the whole URL of slack, or
	// is the password at a mail server.
	Credential string `json:"credential,omitempty"`
	CA         string `json:"ca,omitempty"` // PEM of the authorities that are trusted instead of the system's, or the digest of a blob that has it

	Host string   `json:"host,omitempty"` // of a mail server, with its port
	TLS  string   `json:"tls,omitempty"`  // StartTLS, ImplicitTLS, NoTLS
	User string   `json:"user,omitempty"` // at the mail server
	From string   `json:"from,omitempty"`
	To   []string `json:"to,omitempty"`

	Callback string `json:"callback,omitempty"` // name of one of the cluster
}

// Settings are the value of the setting "alerts".
type Settings struct {
	Channels         []Channel
	BudgetThresholds []int64       // in per cent, of budgets that say none themselves
	Deadline         time.Duration // until an alert that a channel does not take is a dead letter
	Keep             time.Duration // alerts that are delivered
	KeyExpiring      time.Duration // how long before a key ends; 0: never
	NodeDownAfter    time.Duration // 0: never
	CooldownAfter    time.Duration // 0: never
}

// BudgetAlerts is what a budget says of its alerts.
type BudgetAlerts struct {
	At       []int64  `json:"at,omitempty"`       // per cent of the limit, 1 to 1000; empty: those of the setting
	Channels []string `json:"channels,omitempty"` // instead of those that take the kind
	Emails   []string `json:"emails,omitempty"`   // beside them, through the first channel of the type email
}

// Error says what is wrong with a field.
type Error struct{ Field, Reason string }

// Error implements error.
func (e *Error) Error() string { return e.Field + ": " + e.Reason }

func wrong(field, format string, args ...any) error {
	return &Error{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// The bounds of settings.
const (
	maxChannels   = 64
	maxThresholds = 16
	maxNames      = 64
	maxPercent    = 1000
	maxPEM        = 256 << 10
)

// Default are the settings of a cluster that says nothing: alerts are kept, and go nowhere.
func Default() Settings {
	return Settings{
		Deadline: 24 * time.Hour, Keep: 30 * 24 * time.Hour, KeyExpiring: 72 * time.Hour,
		NodeDownAfter: time.Minute, CooldownAfter: 10 * time.Minute,
	}
}

// wire is the value as it is written.
type wire struct {
	Channels         []Channel `json:"channels,omitempty"`
	BudgetThresholds []int64   `json:"budget_thresholds,omitempty"`
	Deadline         *string   `json:"deadline,omitempty"`
	Keep             *string   `json:"keep,omitempty"`
	KeyExpiring      *string   `json:"key_expiring,omitempty"`
	NodeDownAfter    *string   `json:"node_down_after,omitempty"`
	CooldownAfter    *string   `json:"cooldown_after,omitempty"`
}

// Parse reads the value of the setting, strictly. Its errors are *Error.
func Parse(value json.RawMessage) (Settings, error) {
	var in wire
	if err := shape.ReadKnown(value, &in); err != nil {
		e, _ := errors.AsType[*shape.Error](err) // of no other type
		return Settings{}, wrong(cmp.Or(e.Field, "value"), "%s", e.Reason)
	}
	out := Default()
	out.Channels, out.BudgetThresholds = in.Channels, in.BudgetThresholds
	for _, d := range []struct {
		field string
		text  *string
		into  *time.Duration
		least time.Duration // 0: it may be off
	}{
		{"deadline", in.Deadline, &out.Deadline, time.Minute},
		{"keep", in.Keep, &out.Keep, time.Hour},
		{"key_expiring", in.KeyExpiring, &out.KeyExpiring, 0},
		{"node_down_after", in.NodeDownAfter, &out.NodeDownAfter, 0},
		{"cooldown_after", in.CooldownAfter, &out.CooldownAfter, 0},
	} {
		if d.text == nil {
			continue
		}
		var err error
		if *d.into, err = duration(d.field, *d.text, d.least); err != nil {
			return Settings{}, err
		}
	}
	if err := percents("budget_thresholds", out.BudgetThresholds); err != nil {
		return Settings{}, err
	}
	return out, channels(out.Channels)
}

// duration reads days such as 30d, or a duration, or "never" where none is needed.
func duration(field, text string, least time.Duration) (time.Duration, error) {
	if least == 0 && (text == "never" || text == "0") {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int64
		if n, err = strconv.ParseInt(days, 10, 16); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d < max(least, time.Second) || d > 3660*24*time.Hour {
		return 0, wrong(field, "%.40q is not a duration such as 90m or 30d, %s or more", text, max(least, time.Second))
	}
	return d, nil
}

// percents allows what a threshold can be.
func percents(field string, list []int64) error {
	if len(list) > maxThresholds {
		return wrong(field, "%d are more than %d", len(list), maxThresholds)
	}
	for i, p := range list {
		if p < 1 || p > maxPercent {
			return wrong(fmt.Sprintf("%s[%d]", field, i), "%d is not between 1 and %d per cent", p, maxPercent)
		}
		if slices.Contains(list[:i], p) {
			return wrong(fmt.Sprintf("%s[%d]", field, i), "%d stands twice", p)
		}
	}
	return nil
}

func channels(all []Channel) error {
	if len(all) > maxChannels {
		return wrong("channels", "%d are more than %d", len(all), maxChannels)
	}
	for i := range all {
		field := fmt.Sprintf("channels[%d]", i)
		if err := all[i].check(field); err != nil {
			return err
		}
		if slices.ContainsFunc(all[:i], func(c Channel) bool { return c.Name == all[i].Name }) {
			return wrong(field+".name", "%q is the name of another channel", all[i].Name)
		}
	}
	return nil
}

// validName says whether a text may name a channel. One with @ is somebody's address.
func validName(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == '@' || r == '/' || r == '"' || r == 0x7f || r == '\uFFFD'
	})
}

// fields are those of a type of channel: true are needed, others may be there.
var fields = map[string]map[string]bool{
	Webhook:  {"url": true, "credential": false, "ca": false},
	Slack:    {"url": true, "credential": false, "ca": false},
	Email:    {"host": true, "from": true, "to": false, "tls": false, "user": false, "credential": false, "ca": false},
	Callback: {"callback": true},
}

func (c *Channel) check(field string) error {
	if !validName(c.Name) {
		return wrong(field+".name", "%.80q is not 1 to 64 characters without blanks, quotes, @ and /", c.Name)
	}
	have, ok := fields[c.Type]
	if !ok {
		return wrong(field+".type", "%.40q is not one of webhook, slack, email, callback", c.Type)
	}
	given := map[string]bool{
		"url": c.URL != "", "credential": c.Credential != "", "ca": c.CA != "", "host": c.Host != "", "tls": c.TLS != "",
		"user": c.User != "", "from": c.From != "", "to": len(c.To) > 0, "callback": c.Callback != "",
	}
	for _, name := range []string{"url", "host", "from", "to", "tls", "user", "credential", "ca", "callback"} {
		need, may := have[name]
		if need && !given[name] {
			return wrong(field+"."+name, "is missing; a channel of the type %s has one", c.Type)
		}
		if given[name] && !may {
			return wrong(field+"."+name, "a channel of the type %s has none", c.Type)
		}
	}
	for i, k := range c.Kinds {
		if !slices.ContainsFunc(kinds, func(known Kind) bool { return Matches(k, known.Name) }) {
			return wrong(fmt.Sprintf("%s.kinds[%d]", field, i), "%.60q is no kind of alerts, nor the beginning of one with * behind it", k)
		}
	}
	if err := authorities(field+".ca", c.CA); err != nil {
		return err
	}
	if c.Type == Email {
		return c.checkMail(field)
	}
	if c.URL != "" {
		return webAddress(field+".url", c.URL)
	}
	return nil
}

func (c *Channel) checkMail(field string) error {
	if _, port, err := net.SplitHostPort(c.Host); err != nil || port == "" {
		return wrong(field+".host", "%.100q is not a host and a port such as smtp.corp:587", c.Host)
	}
	switch c.TLS {
	case "", StartTLS, ImplicitTLS, NoTLS:
	default:
		return wrong(field+".tls", "%.40q is not one of starttls, tls, none", c.TLS)
	}
	if (c.User == "") != (c.Credential == "") {
		return wrong(field+".user", "goes together with credential, whose api_key is the password")
	}
	if c.User != "" && c.TLS == NoTLS && !local(c.Host) {
		return wrong(field+".tls", "none would send the password in clear; use starttls or tls")
	}
	if _, err := mail.ParseAddress(c.From); err != nil {
		return wrong(field+".from", "%.100q is not an address", c.From)
	}
	return Addresses(field+".to", c.To)
}

// local says whether an address is this machine's.
func local(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Addresses checks a list of e-mail addresses.
func Addresses(field string, list []string) error {
	if len(list) > maxNames {
		return wrong(field, "%d are more than %d", len(list), maxNames)
	}
	for i, text := range list {
		if a, err := mail.ParseAddress(text); err != nil || a.Address != text || len(text) > 254 {
			return wrong(fmt.Sprintf("%s[%d]", field, i), "%.100q is not an address such as ops@example.org", text)
		}
	}
	return nil
}

// digest is how a blob is named.
var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// authorities allows certificates in PEM, and the digest of a blob.
func authorities(field, text string) error {
	if digest.MatchString(text) {
		return nil
	}
	if len(text) > maxPEM {
		return wrong(field, "is longer than %d bytes", maxPEM)
	}
	rest := []byte(text)
	for n := 1; len(bytes.TrimSpace(rest)) > 0; n++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil || b.Type != "CERTIFICATE" {
			return wrong(field, "block %d is not the PEM of a CERTIFICATE, nor is it all the digest of a blob", n)
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return wrong(field, "block %d cannot be read: %s", n, err)
		}
	}
	return nil
}

func webAddress(field, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(text) > 2048 {
		return wrong(field, "is not a URL such as https://hooks.example.org/alerts")
	}
	return nil
}

// Check checks what a budget says. Nil says nothing.
func (b *BudgetAlerts) Check(field string) error {
	if b == nil {
		return nil
	}
	if err := percents(field+".at", b.At); err != nil {
		return err
	}
	if len(b.Channels) > maxNames {
		return wrong(field+".channels", "%d are more than %d", len(b.Channels), maxNames)
	}
	for i, name := range b.Channels {
		if !validName(name) {
			return wrong(fmt.Sprintf("%s.channels[%d]", field, i), "%.80q is not the name of a channel", name)
		}
	}
	return Addresses(field+".emails", b.Emails)
}

// Takes says whether alerts of a kind go to the channel by themselves.
func (c *Channel) Takes(kind string) bool {
	return !c.Only && (len(c.Kinds) == 0 || slices.ContainsFunc(c.Kinds, func(p string) bool { return Matches(p, kind) }))
}

// Named is the channel of a name; nil: there is none.
func (s *Settings) Named(name string) *Channel {
	for i := range s.Channels {
		if s.Channels[i].Name == name {
			return &s.Channels[i]
		}
	}
	return nil
}

// Mail is the first channel of the type email, whose server sends what goes to addresses that no
// channel names; nil: there is none.
func (s *Settings) Mail() *Channel {
	for i := range s.Channels {
		if s.Channels[i].Type == Email {
			return &s.Channels[i]
		}
	}
	return nil
}

// For lists the names of the channels for an alert of a kind; own are those of its budget, which
// replace the others, and emails come beside.
func (s *Settings) For(kind string, own, emails []string) []string {
	var all []string
	if len(own) > 0 {
		all = slices.Clone(own)
	} else {
		for i := range s.Channels {
			c := &s.Channels[i]
			if c.Takes(kind) && (c.Type != Email || len(c.To) > 0) {
				all = append(all, c.Name)
			}
		}
	}
	for _, a := range emails {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return slices.Compact(all)
}
