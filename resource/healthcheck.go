package resource

import "strings"

// SystemTeamID is the id of the team on which the gateway books requests of its own. No key, project or
// member can belong to it. Its budgets and limits are those of such requests.
const SystemTeamID = "_system"

// DefaultHealthCheckTokens are the most tokens that the answer to a health check may have, where its
// deployment does not say: some models refuse to answer with fewer.
const DefaultHealthCheckTokens = 16

// maxHealthCheckTokens bounds what a deployment may say.
const maxHealthCheckTokens = 1024

// HealthCheck says how a deployment is asked by real requests, which cost money. The zero value: it is not.
type HealthCheck struct {
	// HealthCheckModel is the model's name at the provider; a deployment of "*" names one that is there.
	HealthCheckModel     string `json:"health_check_model,omitempty"`
	HealthCheckMaxTokens int64  `json:"health_check_max_tokens,omitempty"` // of the answer; 0: DefaultHealthCheckTokens
}

func (h *HealthCheck) validate() error {
	switch {
	case h.HealthCheckModel != "" && (len(h.HealthCheckModel) > 256 || strings.ContainsFunc(h.HealthCheckModel, func(r rune) bool { return r <= ' ' || r == '*' || r == 0x7f })):
		return invalidf("health_check_model", "%q is not the name of one model at the provider", h.HealthCheckModel)
	case h.HealthCheckMaxTokens < 0 || h.HealthCheckMaxTokens > maxHealthCheckTokens:
		return invalidf("health_check_max_tokens", "%d is not between 1 and %d", h.HealthCheckMaxTokens, maxHealthCheckTokens)
	case h.HealthCheckMaxTokens > 0 && h.HealthCheckModel == "":
		return invalidf("health_check_max_tokens", "needs health_check_model, the model that is asked")
	}
	return nil
}
