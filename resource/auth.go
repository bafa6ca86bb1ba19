package resource

import (
	"net/http"
	"slices"
	"strings"
)

// AuthMode says which credentials are given to an auth plugin.
type AuthMode string

// The zero value of AuthMode is AuthUnknown.
const (
	// AuthUnknown: those that cannot be a virtual key of the cluster. All others go the ordinary way.
	AuthUnknown AuthMode = "unknown"
	// AuthAuto: all, and the ordinary way decides about those that the plugin leaves to it.
	AuthAuto AuthMode = "auto"
	// AuthOn: all, and nobody else decides. The plugin answers for virtual keys, too.
	AuthOn AuthMode = "on"
)

// Bounds of an auth plugin.
const (
	defAuthCache   = 60   // seconds
	maxAuthCache   = 3600 // seconds
	maxAuthHeaders = 32
)

// Auth is a plugin that says who requests of the data path come from. The master key and the admin API
// never depend on it.
type Auth struct {
	Meta
	PluginUse
	Name    string   `json:"name,omitempty"` // unique; plugins are asked in the order of their names
	Mode    AuthMode `json:"mode,omitempty"`
	OnError OnError  `json:"on_error,omitempty"` // pass: the ordinary check decides; nobody is let in by it
	Routes  []string `json:"routes,omitempty"`   // paths or "/prefix/*" at which it is asked; empty: all
	Headers []string `json:"headers,omitempty"`  // that it is given beside the credential
	// CacheSeconds is the most for which an answer is used again; default 60, -1: none is.
	CacheSeconds int64 `json:"cache_seconds,omitempty"`
}

// Label implements Record.
func (a *Auth) Label() string { return a.Name }

// Canonicalize implements Record.
func (a *Auth) Canonicalize() {
	if a.Mode == "" {
		a.Mode = AuthUnknown
	}
	if a.OnError == "" {
		a.OnError = OnErrorBlock
	}
	if a.DeadlineMS == 0 {
		a.DeadlineMS = defDeadline
	}
	if a.CacheSeconds == 0 {
		a.CacheSeconds = defAuthCache
	}
	for i, h := range a.Headers {
		a.Headers[i] = http.CanonicalHeaderKey(h)
	}
}

// Validate implements Record.
func (a *Auth) Validate() error {
	if err := validName("name", a.Name); err != nil {
		return err
	}
	if err := a.validate(); err != nil {
		return err
	}
	if err := validOnError(a.OnError); err != nil {
		return err
	}
	if !slices.Contains([]AuthMode{"", AuthUnknown, AuthAuto, AuthOn}, a.Mode) {
		return invalidf("mode", "%q is not one of unknown, auto, on", a.Mode)
	}
	if a.CacheSeconds < -1 || a.CacheSeconds > maxAuthCache {
		return invalidf("cache_seconds", "%d is not -1 (nothing is kept) to %d", a.CacheSeconds, maxAuthCache)
	}
	for _, r := range a.Routes {
		if !strings.HasPrefix(r, "/") {
			return invalidf("routes", "%q does not start with /", r)
		}
	}
	if len(a.Headers) > maxAuthHeaders {
		return invalidf("headers", "has more than %d entries", maxAuthHeaders)
	}
	for _, h := range a.Headers {
		if h == "" || strings.ContainsFunc(h, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
			return invalidf("headers", "%q is not the name of a header", h)
		}
	}
	return nil
}
