package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// The accounts of a session stand beside those of its holder's budgets, under names that
// no terms can have: the mark, the unit, the mark, and a hash of the session's id.
const (
	sessionMark  = "~"
	sessionMoney = sessionMark + "usd" + sessionMark
	sessionTurns = sessionMark + "requests" + sessionMark
)

// SessionIdle is for how long a session without requests is remembered.
const SessionIdle Time = 24 * 3600 * 1e9

// SessionTerms are the budgets of one session under the limits: its money and its requests.
// Names of terms tell the sessions apart.
func (s *SessionLimits) SessionTerms(session string) []Terms {
	if s == nil || session == "" || (s.Budget == 0 && s.Iterations == 0) {
		return nil
	}
	sum := sha256.Sum256([]byte(session))
	return s.termsOf(hex.EncodeToString(sum[:16]))
}

func (s *SessionLimits) termsOf(hash string) []Terms {
	var all []Terms
	if s.Budget > 0 {
		all = append(all, Terms{Name: sessionMoney + hash, USD: s.Budget, Per: PerTotal})
	}
	if s.Iterations > 0 {
		n := s.Iterations
		all = append(all, Terms{Name: sessionTurns + hash, Requests: &n, Per: PerTotal})
	}
	return all
}

// TermsNamed finds the terms of a session by their name.
func (s *SessionLimits) TermsNamed(name string) (Terms, bool) {
	if s == nil || !IsSession(name) {
		return Terms{}, false
	}
	for _, t := range s.termsOf(name[strings.LastIndex(name, sessionMark)+1:]) {
		if t.Name == name {
			return t, true
		}
	}
	return Terms{}, false
}

// IsSession says that the terms of the name are those of a session.
func IsSession(name string) bool { return strings.HasPrefix(name, sessionMark) }
