package resource

import "encoding/json"

// defDeadline is the deadline of a plugin that is asked within a request, in milliseconds.
const defDeadline = 1000

// PluginUse is what the records of auth and router_filter have in common: which plugin runs, with
// what, and what becomes of who needs it while it does not.
type PluginUse struct {
	Plugin string          `json:"plugin,omitempty"` // name of a registered plugin
	Config json.RawMessage `json:"config,omitempty"` // the plugin's own
	// Secrets are fields of Config that are secret, by their names: "token".
	Secrets    map[string]*Sealed `json:"secrets,omitempty"`
	DeadlineMS int64              `json:"deadline_ms,omitempty"` // of one question
	Instances  int64              `json:"instances,omitempty"`   // processes on each node that share the questions; default 1
	MemoryMB   int64              `json:"memory_mb,omitempty"`   // MiB of one process, above which it is killed; default 256
}

func (u *PluginUse) validate() error {
	if err := validName("plugin", u.Plugin); err != nil {
		return err
	}
	if len(u.Config) > 0 && !json.Valid(u.Config) {
		return invalidf("config", "is not JSON")
	}
	if err := validConfigSecrets(u.Config, u.Secrets); err != nil {
		return err
	}
	if err := validTimeout("deadline_ms", u.DeadlineMS); err != nil {
		return err
	}
	if u.Instances < 0 || u.Instances > MaxInstances {
		return invalidf("instances", "%d is not 0 (one) to %d", u.Instances, MaxInstances)
	}
	return validMemory(u.MemoryMB)
}

// validOnError checks what becomes of a request whose plugin cannot be asked.
func validOnError(e OnError) error {
	if e != "" && e != OnErrorBlock && e != OnErrorPass {
		return invalidf("on_error", "%q is not one of block, pass", e)
	}
	return nil
}

// Configured is Config with the secrets in their places, which open reads.
func (u *PluginUse) Configured(open func(field string, s *Sealed) (string, error)) (json.RawMessage, error) {
	return configured(u.Config, u.Secrets, open)
}

// EachSealed visits the sealed secrets, as Credential's does.
func (u *PluginUse) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitNamed(u.Secrets, visit)
}
