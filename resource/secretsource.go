package resource

import (
	"encoding/json"
	"slices"
	"strings"
)

// Defaults and bounds of a secret source.
const (
	defRefresh  = 300    // seconds
	defMaxStale = 86_400 // seconds, a day
	maxSeconds  = 366 * 86_400
	maxPath     = 1024 // bytes of a reference's path, and of its field
)

// secretScheme begins a reference to a secret of any source: secret://NAME/PATH#FIELD.
const secretScheme = "secret"

// sourceSchemes are the names of sources that are schemes of their own: vault://PATH#FIELD is
// secret://vault/PATH#FIELD. The list is closed, so that no name of a source can turn a URL that is
// itself a secret into a reference.
var sourceSchemes = []string{"vault", "aws-sm", "gcp-sm", "azure-kv"}

// AccessMode is what may be done with the secrets of a source.
type AccessMode string

// The access modes.
const (
	AccessRead      AccessMode = "read_only"
	AccessWrite     AccessMode = "write_only"
	AccessReadWrite AccessMode = "read_and_write"
)

// defKeyPrefix begins the paths of stored virtual keys.
const defKeyPrefix = "litellm/"

// SecretSource is a plugin that reads secrets out of a store of secrets, and may keep virtual keys in it.
// What refers to it holds the reference in the place of the secret; each node resolves it for itself.
type SecretSource struct {
	Meta
	Name   string          `json:"name,omitempty"`   // unique; "vault" is what vault:// asks
	Plugin string          `json:"plugin,omitempty"` // name of a shipped or registered plugin
	Config json.RawMessage `json:"config,omitempty"` // the plugin's own
	// Secrets are fields of Config that are secret, by their names: "token".
	Secrets map[string]*Sealed `json:"secrets,omitempty"`
	// RefreshSeconds is after how long a value is read again; default 300.
	RefreshSeconds int64 `json:"refresh_seconds,omitempty"`
	// MaxStaleSeconds is how long a value is used that cannot be read again; default 86,400.
	MaxStaleSeconds int64 `json:"max_stale_seconds,omitempty"`
	// MemoryMB is the MiB of its process above which it is killed; default 256.
	MemoryMB int64 `json:"memory_mb,omitempty"`
	// AccessMode is what may be done with it; default read_only.
	AccessMode AccessMode `json:"access_mode,omitempty"`
	// StoreVirtualKeys has the secrets of virtual keys written there when they are made or rotated; of
	// several sources the first by name.
	StoreVirtualKeys bool `json:"store_virtual_keys,omitempty"`
	// KeyPrefix begins the paths of stored virtual keys; default "litellm/".
	KeyPrefix string `json:"prefix_for_stored_virtual_keys,omitempty"`
}

// Reads says whether its secrets may be read.
func (s *SecretSource) Reads() bool { return s.AccessMode != AccessWrite }

// Writes says whether secrets may be written to it.
func (s *SecretSource) Writes() bool {
	return s.AccessMode == AccessWrite || s.AccessMode == AccessReadWrite
}

// KeyRef is the reference under which the secret of a new key is stored: below the prefix, by the key's
// name, or by its id where that is no word of a path.
func (s *SecretSource) KeyRef(k *Key) string {
	name := k.Name
	if !pathWord(name) {
		name = "virtual-key-" + strings.ReplaceAll(k.ID, "_", "-")
	}
	return SecretRef{Source: s.Name, Path: s.KeyPrefix + name}.String()
}

// pathWord says whether every store takes the text for one part of a path.
func pathWord(text string) bool {
	return text != "" && len(text) <= 128 && strings.Trim(text, ".") != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
}

// Label implements Record.
func (s *SecretSource) Label() string { return s.Name }

// Canonicalize implements Record.
func (s *SecretSource) Canonicalize() {
	if s.RefreshSeconds == 0 {
		s.RefreshSeconds = defRefresh
	}
	if s.MaxStaleSeconds == 0 {
		s.MaxStaleSeconds = max(defMaxStale, s.RefreshSeconds)
	}
	if s.AccessMode == "" {
		s.AccessMode = AccessRead
	}
	if s.StoreVirtualKeys && s.KeyPrefix == "" {
		s.KeyPrefix = defKeyPrefix
	}
}

// Validate implements Record.
func (s *SecretSource) Validate() error {
	if err := validName("name", s.Name); err != nil {
		return err
	}
	if strings.ContainsAny(s.Name, "/#?") {
		return invalidf("name", "%q has a character that ends a name in a reference: none of / # ? may stand in it", s.Name)
	}
	if err := validName("plugin", s.Plugin); err != nil {
		return err
	}
	if len(s.Config) > 0 && !json.Valid(s.Config) {
		return invalidf("config", "is not JSON")
	}
	if ref, ok := refersIn(s.Config); ok {
		return invalidf("config", "refers to %.200q: the configuration of a secret source may not need another one", ref)
	}
	if s.RefreshSeconds < 0 || s.RefreshSeconds > maxSeconds {
		return invalidf("refresh_seconds", "is not between 1 and %d", maxSeconds)
	}
	if s.MaxStaleSeconds < 0 || s.MaxStaleSeconds > maxSeconds {
		return invalidf("max_stale_seconds", "is not between 1 and %d", maxSeconds)
	}
	if s.MaxStaleSeconds != 0 && s.MaxStaleSeconds < s.RefreshSeconds {
		return invalidf("max_stale_seconds", "is shorter than refresh_seconds: each value would be without use until it is read again")
	}
	if err := validConfigSecrets(s.Config, s.Secrets); err != nil {
		return err
	}
	if err := s.validStore(); err != nil {
		return err
	}
	return validMemory(s.MemoryMB)
}

func (s *SecretSource) validStore() error {
	if !slices.Contains([]AccessMode{"", AccessRead, AccessWrite, AccessReadWrite}, s.AccessMode) {
		return invalidf("access_mode", "%q is not read_only, write_only or read_and_write", string(s.AccessMode))
	}
	if s.StoreVirtualKeys && !s.Writes() {
		return invalidf("store_virtual_keys", "needs the access_mode write_only or read_and_write")
	}
	if len(s.KeyPrefix) > maxPath/2 || strings.ContainsAny(s.KeyPrefix, "#?%\\") || strings.ContainsFunc(s.KeyPrefix, control) || slices.Contains(strings.Split(s.KeyPrefix, "/"), "..") {
		return invalidf("prefix_for_stored_virtual_keys", "%.200q cannot begin a path", s.KeyPrefix)
	}
	return nil
}

// Configured is Config with the secrets in their places, which open reads.
func (s *SecretSource) Configured(open func(field string, s *Sealed) (string, error)) (json.RawMessage, error) {
	return configured(s.Config, s.Secrets, open)
}

// refersIn finds a reference to a secret source in a configuration.
func refersIn(raw json.RawMessage) (ref string, found bool) {
	var doc any
	if json.Unmarshal(raw, &doc) != nil {
		return "", false
	}
	var look func(v any) bool
	look = func(v any) bool {
		switch v := v.(type) {
		case string:
			ref = v
			return IsSecretRef(v)
		case []any:
			return slices.ContainsFunc(v, look)
		case map[string]any:
			return slices.ContainsFunc(sortedKeys(v), func(name string) bool { return look(v[name]) })
		}
		return false
	}
	return ref, look(doc)
}

// SecretRef is a reference to a secret in a secret source.
type SecretRef struct {
	Source string // name
	Path   string // of the secret, as the source's plugin understands it
	Field  string // of a secret that has several; "": the plugin's usual one
}

// IsSecretRef says whether a text is a reference to a secret source, a malformed one too.
func IsSecretRef(text string) bool {
	scheme, _, ok := strings.Cut(text, "://")
	return ok && (scheme == secretScheme || slices.Contains(sourceSchemes, scheme))
}

// ParseSecretRef reads a text for which IsSecretRef is true. It returns an *Invalid that says how
// references look.
func ParseSecretRef(text string) (SecretRef, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	r := SecretRef{Source: scheme}
	if scheme == secretScheme {
		r.Source, rest, _ = strings.Cut(rest, "/")
	}
	r.Path, r.Field, _ = strings.Cut(rest, "#")
	if r.Source == "" || r.Path == "" || len(r.Path) > maxPath || len(r.Field) > maxPath || strings.ContainsFunc(rest, control) || strings.Contains(r.Field, "#") {
		return SecretRef{}, invalidf("reference", "%.200q is not a reference such as vault://mount/path#field or secret://SOURCE/path#field", text)
	}
	return r, nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// String is the reference as it is written.
func (r SecretRef) String() string {
	text := secretScheme + "://" + r.Source + "/" + r.Path
	if slices.Contains(sourceSchemes, r.Source) {
		text = r.Source + "://" + r.Path
	}
	if r.Field != "" {
		text += "#" + r.Field
	}
	return text
}
