/* Capturing an event, compiled. `capture.py` and `copy.py` have the same in Python, for where this
is missing.

The copy knows the exact builtin types and nothing else. Each container is copied in one step of
CPython's own, and only the copy, which nobody else has, is looked at. No code of the caller's runs
in between, so nothing that other threads, destructors or data with methods of its own do to the
originals can reach the walk.
*/

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <datetime.h>
#include <structmember.h>

enum { MAX_DEPTH = 200, MAX_VALUES = 100000, MAX_INT_BITS = 14000 }; /* as in `copy.py` */
enum { MAX_NAME_CHARS = 1024 }; /* as in `capture.py` */
enum { ID, NAME, TIMESTAMP, CONTEXT, DATA, EXTRA, FIELDS };
static const char *const FIELD_NAMES[FIELDS] = {
    "id", "name", "timestamp", "context", "data", "extra",
};

typedef struct {
    PyTypeObject *datetime, *date, *uuid, *event;
    PyObject *make_id, *utc, *now, *real_now;
    PyObject *valid_text, *as_utc; /* what makes an event's name, id and time valid */
    PyObject *names[FIELDS];
    Py_ssize_t offsets[FIELDS]; /* of the slots of an event */
} State;

typedef struct {
    const State *types;
    Py_ssize_t left;
} Walk;

static PyObject *copy_container(PyObject *value, int depth, Walk *walk);

/* Whether an integer has a text: the others are marked. */
static int
is_printable(PyObject *value)
{
    int overflow = 0;
    (void)PyLong_AsLongLongAndOverflow(value, &overflow);
    if (!overflow) {
        return 1;
    }
    PyObject *bits = PyObject_CallMethod(value, "bit_length", NULL);
    long count = bits == NULL ? -1 : PyLong_AsLong(bits);
    Py_XDECREF(bits);
    PyErr_Clear();
    return count >= 0 && count <= MAX_INT_BITS;
}

static inline int
is_utc(PyObject *value, const State *types)
{
    return Py_TYPE(value) == types->datetime && PyDateTime_DATE_GET_TZINFO(value) == types->utc;
}

static inline int
is_native(PyObject *value, const State *types)
{
    PyTypeObject *type = Py_TYPE(value);
    return type == &PyUnicode_Type || (type == &PyLong_Type && is_printable(value))
        || type == &PyBool_Type || value == Py_None || type == &PyFloat_Type
        || is_utc(value, types) || type == types->uuid || type == types->date
        || type == &PyBytes_Type;
}

/* Whether it is text without lone surrogates. */
static int
is_valid_text(PyObject *text)
{
    if (!PyUnicode_CheckExact(text)) {
        return 0;
    }
    if (PyUnicode_IS_ASCII(text) || PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND) {
        return 1;
    }
    for (Py_ssize_t index = 0; index < PyUnicode_GET_LENGTH(text); index++) {
        if (Py_UNICODE_IS_SURROGATE(PyUnicode_READ_CHAR(text, index))) {
            return 0;
        }
    }
    return 1;
}

/* Copy the members of a dict that is a copy itself; takes over the reference to it. */
static PyObject *
copy_fields(PyObject *fields, int depth, Walk *walk)
{
    PyObject *key, *member;
    Py_ssize_t at = 0;
    if (fields == NULL) {
        return NULL;
    }
    while (PyDict_Next(fields, &at, &key, &member)) {
        if (!PyUnicode_CheckExact(key)) {
            PyErr_SetNone(PyExc_TypeError);
            goto failed;
        }
        if (is_native(member, walk->types)) {
            continue;
        }
        /* A destructor may run wherever memory is asked for, and find even this dict. */
        Py_INCREF(key);
        Py_INCREF(member);
        PyObject *copied = copy_container(member, depth, walk);
        /* The key is there, so the order stays. */
        int status = copied == NULL ? -1 : PyDict_SetItem(fields, key, copied);
        Py_XDECREF(copied);
        Py_DECREF(member);
        Py_DECREF(key);
        if (status < 0) {
            goto failed;
        }
    }
    return fields;
failed:
    Py_DECREF(fields);
    return NULL;
}

/* Copy the members of a list that is a copy itself; takes over the reference to it. */
static PyObject *
copy_members(PyObject *members, int depth, Walk *walk)
{
    if (members == NULL) {
        return NULL;
    }
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(members); index++) {
        PyObject *member = PyList_GET_ITEM(members, index);
        if (is_native(member, walk->types)) {
            continue;
        }
        Py_INCREF(member);
        PyObject *copied = copy_container(member, depth, walk);
        Py_DECREF(member);
        if (copied == NULL || PyList_SetItem(members, index, copied) < 0) {
            Py_DECREF(members);
            return NULL;
        }
    }
    return members;
}

static PyObject *
copy_container(PyObject *value, int depth, Walk *walk)
{
    if (depth >= MAX_DEPTH) {
        PyErr_SetNone(PyExc_RecursionError);
        return NULL;
    }
    if (PyDict_CheckExact(value)) {
        if ((walk->left -= PyDict_GET_SIZE(value)) >= 0) {
            return copy_fields(PyDict_Copy(value), depth + 1, walk);
        }
    } else if (PyList_CheckExact(value)) {
        if ((walk->left -= PyList_GET_SIZE(value)) >= 0) {
            PyObject *members = PyList_GetSlice(value, 0, PyList_GET_SIZE(value));
            return copy_members(members, depth + 1, walk);
        }
    } else if (PyTuple_CheckExact(value)) {
        if ((walk->left -= PyTuple_GET_SIZE(value)) >= 0) {
            return copy_members(PySequence_List(value), depth + 1, walk);
        }
    }
    PyErr_SetNone(PyExc_TypeError);
    return NULL;
}

PyDoc_STRVAR(fast_copy_doc, "fast_copy(value, /)\n--\n\nSee `copy.copy_in_python`.");

static PyObject *
fast_copy(PyObject *module, PyObject *value)
{
    Walk walk = {PyModule_GetState(module), MAX_VALUES};
    return is_native(value, walk.types) ? Py_NewRef(value) : copy_container(value, 0, &walk);
}

/* Make a function of this module a method of a type: in a class, a built-in function would not be
bound. */
static int
add_method(PyObject *module, PyObject *type, const char *method_name, const char *function_name)
{
    PyObject *function = PyObject_GetAttrString(module, function_name);
    PyObject *method = function == NULL ? NULL : PyInstanceMethod_New(function);
    int status = method == NULL ? -1 : PyObject_SetAttrString(type, method_name, method);
    Py_XDECREF(function);
    Py_XDECREF(method);
    return status;
}

PyDoc_STRVAR(bind_doc, "bind(event_type, make_id, valid_text, as_utc, /)\n--\n\n"
                       "Say what an event is, and what makes its id, its texts and its time.");

static PyObject *
bind(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    PyObject *type, *make_id, *valid_text, *as_utc;
    if (!PyArg_ParseTuple(args, "O!OOO:bind", &PyType_Type, &type, &make_id, &valid_text,
                          &as_utc)) {
        return NULL;
    }
    for (int field = 0; field < FIELDS; field++) {
        PyObject *found = PyObject_GetAttrString(type, FIELD_NAMES[field]);
        if (found == NULL) {
            return NULL;
        }
        int is_slot = Py_IS_TYPE(found, &PyMemberDescr_Type);
        PyMemberDef *member = is_slot ? ((PyMemberDescrObject *)found)->d_member : NULL;
        if (member != NULL && member->type == T_OBJECT_EX) {
            state->offsets[field] = member->offset;
        } else {
            PyErr_Format(PyExc_TypeError, "%s is no slot of the type", FIELD_NAMES[field]);
        }
        Py_DECREF(found);
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    Py_XSETREF(state->event, (PyTypeObject *)Py_NewRef(type));
    Py_XSETREF(state->make_id, Py_NewRef(make_id));
    Py_XSETREF(state->valid_text, Py_NewRef(valid_text));
    Py_XSETREF(state->as_utc, Py_NewRef(as_utc));
    if (add_method(module, type, "replace", "replace") < 0
        || add_method(module, type, "_document", "document") < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
new_id(const State *state)
{
    PyObject *id = PyObject_CallNoArgs(state->make_id);
    PyObject *text = id == NULL ? NULL : PyObject_Str(id);
    Py_XDECREF(id);
    return text;
}

static inline PyObject **
slot(PyObject *event, const State *state, int field)
{
    return (PyObject **)((char *)event + state->offsets[field]);
}

static PyObject *
read_clock(PyObject *clock, const State *state)
{
    if (clock == (PyObject *)state->datetime) {
        return PyObject_CallOneArg(state->real_now, state->utc);
    }
    PyObject *now = PyObject_CallMethodOneArg(clock, state->now, state->utc);
    if (now == NULL || is_utc(now, state)) {
        return now;
    }
    Py_SETREF(now, PyObject_CallOneArg(state->as_utc, now)); /* of a class that freezes time */
    return now;
}

PyDoc_STRVAR(capture_doc, "capture(name, data, context, clock, /)\n--\n\n"
                          "See `capture.capture_in_python`.");

static PyObject *
capture(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    const State *state = PyModule_GetState(module);
    if (count != 4 || state->event == NULL || !is_valid_text(args[0])
        || PyUnicode_GET_LENGTH(args[0]) == 0 || PyUnicode_GET_LENGTH(args[0]) > MAX_NAME_CHARS
        || !(PyDict_CheckExact(args[1]) || args[1] == Py_None)) {
        PyErr_SetNone(PyExc_TypeError);
        return NULL;
    }
    PyObject *values[FIELDS] = {NULL};
    PyObject *event = NULL;
    Walk walk = {state, MAX_VALUES};
    values[DATA] = args[1] == Py_None ? PyDict_New() : copy_container(args[1], 0, &walk);
    if (values[DATA] != NULL && (values[ID] = new_id(state)) != NULL
        && (values[TIMESTAMP] = read_clock(args[3], state)) != NULL
        && (values[EXTRA] = PyDict_New()) != NULL) {
        event = state->event->tp_alloc(state->event, 0);
    }
    if (event == NULL) {
        for (int field = 0; field < FIELDS; field++) {
            Py_XDECREF(values[field]);
        }
        return NULL;
    }
    values[NAME] = Py_NewRef(args[0]);
    values[CONTEXT] = Py_NewRef(args[2]);
    for (int field = 0; field < FIELDS; field++) {
        *slot(event, state, field) = values[field];
    }
    return event;
}

PyDoc_STRVAR(replace_doc,
             "replace(self, *, name=None, id=None, timestamp=None, context=None, data=None,"
             " extra=None)\n--\n\n"
             "Return a copy with some fields changed:"
             " `event.replace(data={**event.data, \"score\": 1})`.\n\n"
             "Raises:\n    TypeError: If a change names no field.\n");

/* Return a field's value as an event holds it: valid text, and a time in UTC. */
static PyObject *
held(int field, PyObject *value, const State *state)
{
    int is_text = field == NAME || field == ID;
    if (is_text ? is_valid_text(value) : field != TIMESTAMP || is_utc(value, state)) {
        return Py_NewRef(value);
    }
    return PyObject_CallOneArg(is_text ? state->valid_text : state->as_utc, value);
}

static PyObject *
replace(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    const State *state = PyModule_GetState(module);
    if (count != 1 || state->event == NULL || !PyObject_TypeCheck(args[0], state->event)) {
        PyErr_SetString(PyExc_TypeError, "expected an event, and keywords");
        return NULL;
    }
    PyTypeObject *type = Py_TYPE(args[0]);
    PyObject *event = type->tp_alloc(type, 0);
    for (int field = 0; event != NULL && field < FIELDS; field++) {
        *slot(event, state, field) = Py_XNewRef(*slot(args[0], state, field));
    }
    Py_ssize_t changes = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    for (Py_ssize_t index = 0; event != NULL && index < changes; index++) {
        PyObject *key = PyTuple_GET_ITEM(keywords, index);
        int field = 0;
        while (field < FIELDS && key != state->names[field]) { /* a keyword of a call is interned */
            field++;
        }
        if (field == FIELDS) {
            field = 0;
            while (field < FIELDS
                   && PyUnicode_CompareWithASCIIString(key, FIELD_NAMES[field]) != 0) {
                field++;
            }
        }
        if (field == FIELDS) {
            PyErr_Format(PyExc_TypeError,
                         "an event has no field %R; its fields are id, name, timestamp, context,"
                         " data and extra", key);
            Py_CLEAR(event);
        } else {
            PyObject *value = held(field, args[1 + index], state);
            if (value == NULL) {
                Py_CLEAR(event);
            } else {
                Py_XSETREF(*slot(event, state, field), value);
            }
        }
    }
    for (int field = 0; event != NULL && field < FIELDS; field++) {
        if (*slot(event, state, field) == NULL) {
            PyErr_SetObject(PyExc_AttributeError, state->names[field]);
            Py_CLEAR(event);
        }
    }
    return event;
}

PyDoc_STRVAR(document_doc, "document(event, /)\n--\n\n"
                           "Make a dict of an event, which shares its members.");

static PyObject *
document(PyObject *module, PyObject *event)
{
    static const int order[] = {NAME, TIMESTAMP, CONTEXT, DATA, ID};
    const State *state = PyModule_GetState(module);
    if (state->event == NULL || !PyObject_TypeCheck(event, state->event)) {
        PyErr_SetString(PyExc_TypeError, "expected an event");
        return NULL;
    }
    PyObject *made = PyDict_New();
    for (size_t at = 0; made != NULL && at < sizeof(order) / sizeof(order[0]); at++) {
        PyObject *value = *slot(event, state, order[at]);
        if (value == NULL) {
            PyErr_SetObject(PyExc_AttributeError, state->names[order[at]]);
        }
        if (value == NULL || PyDict_SetItem(made, state->names[order[at]], value) < 0) {
            Py_CLEAR(made);
        }
    }
    /* The event may change while a mapping's own code runs. */
    PyObject *extra = Py_XNewRef(*slot(event, state, EXTRA));
    if (made != NULL && extra == NULL) {
        PyErr_SetObject(PyExc_AttributeError, state->names[EXTRA]);
        Py_CLEAR(made);
    }
    if (made != NULL) {
        int is_any = PyObject_IsTrue(extra);
        /* Merging replaces nothing. */
        if (is_any < 0 || (is_any && PyDict_Merge(made, extra, 0) < 0)) {
            Py_CLEAR(made);
        }
    }
    Py_XDECREF(extra);
    return made;
}

static int
execute(PyObject *module)
{
    State *state = PyModule_GetState(module);
    PyDateTime_IMPORT; /* the real types, even while a test has replaced those of Python code */
    PyObject *uuid = PyDateTimeAPI == NULL ? NULL : PyImport_ImportModule("uuid");
    if (uuid == NULL) {
        return -1;
    }
    state->uuid = (PyTypeObject *)PyObject_GetAttrString(uuid, "UUID");
    Py_DECREF(uuid);
    state->datetime = (PyTypeObject *)Py_NewRef(PyDateTimeAPI->DateTimeType);
    state->date = (PyTypeObject *)Py_NewRef(PyDateTimeAPI->DateType);
    state->utc = Py_NewRef(PyDateTime_TimeZone_UTC);
    for (int field = 0; field < FIELDS; field++) {
        if ((state->names[field] = PyUnicode_InternFromString(FIELD_NAMES[field])) == NULL) {
            return -1;
        }
    }
    state->now = PyUnicode_InternFromString("now");
    state->real_now =
        state->now == NULL ? NULL : PyObject_GetAttr((PyObject *)state->datetime, state->now);
    return state->uuid == NULL || state->real_now == NULL ? -1 : 0;
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->datetime);
    Py_VISIT(state->date);
    Py_VISIT(state->uuid);
    Py_VISIT(state->event);
    Py_VISIT(state->make_id);
    Py_VISIT(state->utc);
    Py_VISIT(state->now);
    for (int field = 0; field < FIELDS; field++) {
        Py_VISIT(state->names[field]);
    }
    Py_VISIT(state->real_now);
    Py_VISIT(state->valid_text);
    Py_VISIT(state->as_utc);
    return 0;
}

static int
clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->datetime);
    Py_CLEAR(state->date);
    Py_CLEAR(state->uuid);
    Py_CLEAR(state->event);
    Py_CLEAR(state->make_id);
    Py_CLEAR(state->utc);
    Py_CLEAR(state->now);
    for (int field = 0; field < FIELDS; field++) {
        Py_CLEAR(state->names[field]);
    }
    Py_CLEAR(state->real_now);
    Py_CLEAR(state->valid_text);
    Py_CLEAR(state->as_utc);
    return 0;
}

static void
release(void *module)
{
    (void)clear(module);
}

static PyMethodDef methods[] = {
    {"bind", bind, METH_VARARGS, bind_doc},
    {"capture", (PyCFunction)(void (*)(void))capture, METH_FASTCALL, capture_doc},
    {"replace", (PyCFunction)(void (*)(void))replace, METH_FASTCALL | METH_KEYWORDS, replace_doc},
    {"document", document, METH_O, document_doc},
    {"fast_copy", fast_copy, METH_O, fast_copy_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "eventtracking._data._compiled",
    .m_doc = "Capturing an event, compiled.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC
PyInit__compiled(void)
{
    return PyModuleDef_Init(&definition);
}
