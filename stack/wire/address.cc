#include "stack/wire/address.h"
