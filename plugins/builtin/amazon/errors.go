package amazon

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"slices"
	"strings"
)

// objectErrors are the codes of S3 with status 400 that are about an object, and messageErrors those of SQS that
// are about messages. All others, such as ExpiredToken, RequestTimeout, RequestThrottled and
// QueueDoesNotExist, are about credentials, settings or the load, and pass.
var (
	objectErrors = []string{
		"EntityTooLarge", "EntityTooSmall", "InvalidURI", "KeyTooLongError", "MaxMessageLengthExceeded", "MetadataTooLarge",
		"XMinioInvalidObjectName",
	}
	messageErrors = []string{
		"BatchEntryIdsNotDistinct", "BatchRequestTooLong", "EmptyBatchRequest", "InvalidBatchEntryId", "InvalidMessageContents",
		"InvalidParameterValue", "MissingParameter", "SerializationException", "TooManyEntriesInBatchRequest", "ValidationException",
	}
)

// objectPasses says that an error of S3 is not about the object. One without a code is.
func objectPasses(answer []byte) bool {
	var e struct{ Code string }
	_ = xml.NewDecoder(bytes.NewReader(answer)).Decode(&e)
	return e.Code != "" && !slices.Contains(objectErrors, e.Code)
}

// batchPasses says that an error of SQS is not about the messages. One without a code is.
func batchPasses(answer []byte) bool {
	var e struct {
		Type string `json:"__type"` // "com.amazonaws.sqs#QueueDoesNotExist"
	}
	_ = json.Unmarshal(answer, &e)
	code := shape(e.Type)
	return code != "" && !slices.Contains(messageErrors, code)
}

// messagePasses says that the code of one message of a batch is not about it, whose fault it may be.
func messagePasses(code string) bool {
	return slices.ContainsFunc([]string{"kms", "throttl", "accessdenied", "overlimit", "token", "notexist", "nonexistent"}, func(word string) bool {
		return strings.Contains(strings.ToLower(shape(code)), word)
	})
}

// shape is a code without its namespace.
func shape(code string) string { return code[strings.LastIndex(code, "#")+1:] }
