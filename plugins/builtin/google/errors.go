package google

import (
	"encoding/json"
	"slices"
)

// passes says that an error of Google's with status 400 is not about what was sent, but about the state of the
// project, the topic or a key, which may be mended.
func passes(answer []byte) bool {
	var e struct {
		Error struct {
			Status string `json:"status"`
			Errors []struct {
				Reason string `json:"reason"`
			} `json:"errors"`
		} `json:"error"`
	}
	if json.Unmarshal(answer, &e) != nil {
		return false
	}
	for _, one := range e.Error.Errors {
		if slices.Contains([]string{"failedPrecondition", "keyExpired", "keyInvalid", "userProjectMissing"}, one.Reason) {
			return true
		}
	}
	return e.Error.Status == "FAILED_PRECONDITION"
}
