package config

import (
	"fmt"
	"reflect"
)

// EachSecret puts what f returns in the place of every secret that the resources hold, wherever a record has one, and ends
// with f's first error, which then names the place. f is told the secret's field, and the record by its place in the file.
func (r *Resources) EachSecret(f func(Secret) (Secret, error)) error {
	return eachSecret(reflect.ValueOf(r).Elem(), "", f)
}

var secretType = reflect.TypeFor[Secret]()

// secretFields are the attributes that fields which hold one secret are read from.
var secretFields = map[string]string{"APIKey": "api_key", "Secret": "secret", "RotationKey": "rotation_key"}

// eachSecret walks through a value. where is the record that it is part of.
func eachSecret(v reflect.Value, where string, f func(Secret) (Secret, error)) error {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			if err := eachSecret(v.Index(i), where, f); err != nil {
				return err
			}
		}
	case reflect.Map:
		return eachOfMap(v, where, f)
	case reflect.Struct:
		if at, ok := reflect.TypeAssert[interface{ at() string }](v.Addr()); ok {
			where = at.at()
		}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() || field.Name == "Resource" {
				continue
			}
			if field.Type == secretType {
				if err := replaceSecret(v.Field(i), where, secretFields[field.Name], f); err != nil {
					return err
				}
				continue
			}
			if err := eachSecret(v.Field(i), where, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachOfMap walks through secrets by name; other maps hold none.
func eachOfMap(v reflect.Value, where string, f func(Secret) (Secret, error)) error {
	if v.Type().Elem() != secretType {
		return nil
	}
	for _, key := range v.MapKeys() {
		s, err := f(Secret(v.MapIndex(key).String()))
		if err != nil {
			return fmt.Errorf("%ssecret %s: %w", where, key, err)
		}
		v.SetMapIndex(key, reflect.ValueOf(s))
	}
	return nil
}

func replaceSecret(v reflect.Value, where, name string, f func(Secret) (Secret, error)) error {
	s, err := f(Secret(v.String()))
	if err != nil {
		return fmt.Errorf("%s%s: %w", where, name, err)
	}
	v.Set(reflect.ValueOf(s))
	return nil
}

// at is how errors begin that are about the record.
func (p *Position) at() string {
	if p.File == "" {
		return ""
	}
	return p.String() + ": "
}
