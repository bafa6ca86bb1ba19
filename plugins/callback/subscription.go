package callback

import (
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/resource"
)

// Subscription says of which requests a callback is told, and how much.
type Subscription struct {
	Name      string // of the callback
	Plugin    string
	Selection resource.Selection // empty: always
	Statuses  []string           // empty: all
	Content   bool               // prompts and answers too, where they may be kept
}

// SubscriptionOf is the subscription of the callback.
func SubscriptionOf(c *resource.Callback) Subscription {
	return Subscription{Name: c.Name, Plugin: c.Plugin, Selection: c.Selection, Statuses: c.Statuses, Content: c.Content}
}

// Wants says whether the callback is told of a request that ended with the status and whose
// holders chose the callbacks of these names; pluginOf gives the plugin of a callback.
func (s *Subscription) Wants(status string, chosen []string, pluginOf func(name string) string) bool {
	if len(s.Statuses) > 0 && !slices.Contains(s.Statuses, status) {
		return false
	}
	if s.without(chosen) {
		return false
	}
	switch s.Selection {
	case resource.SelectChosen:
		return slices.Contains(chosen, s.Name)
	case resource.SelectDefault:
		return slices.Contains(chosen, s.Name) || !slices.ContainsFunc(chosen, func(name string) bool {
			return name == resource.NoCallbacks || pluginOf(name) == s.Plugin
		})
	default:
		return true
	}
}

// without says that the request does without the callback, and may: it is not one that is always told.
func (s *Subscription) without(chosen []string) bool {
	return s.Selection != "" && s.Selection != resource.SelectAlways && slices.ContainsFunc(chosen, func(name string) bool {
		name, ok := strings.CutPrefix(name, resource.WithoutCallback)
		return ok && (name == s.Name || name == s.Plugin)
	})
}
