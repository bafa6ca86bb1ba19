package records

import (
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// ParseDuration reads what resource.ParseDuration reads.
func ParseDuration(text string) (time.Duration, error) { return resource.ParseDuration(text) }
