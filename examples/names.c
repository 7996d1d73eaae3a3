/* Prints who comes, live: reads GstFaceMeta on every buffer, and the alerts on the bus.
 *
 *   gcc names.c -o names $(pkg-config --cflags --libs gstreamer-1.0)
 *   ./names clip.mp4 people.gallery
 *
 * Nothing of the plugin is needed to build it: the metadata is read by name (docs/metadata.md).
 */
#include <gst/gst.h>
#include <string.h>

/* A name for every track: what was printed already. */
static GHashTable *printed;

/* Prints a track when its name is another one than before. Streaming thread. */
static void
print_face (const GstStructure * face, GstClockTime time)
{
  guint64 track = 0;
  const gchar *name = gst_structure_get_string (face, "name");
  const gchar *status = gst_structure_get_string (face, "status");

  if (!gst_structure_get_uint64 (face, "track-id", &track) || track == 0)
    return;
  if (name == NULL)
    name = status && strcmp (status, "unknown") == 0 ? "unknown" : NULL;
  if (name == NULL || g_strcmp0 (g_hash_table_lookup (printed, GUINT_TO_POINTER ((guint) track)), name) == 0)
    return;
  g_hash_table_insert (printed, GUINT_TO_POINTER ((guint) track), g_strdup (name));
  g_print ("%" GST_TIME_FORMAT " track %" G_GUINT64_FORMAT ": %s\n", GST_TIME_ARGS (time), track, name);
}

static GstPadProbeReturn
on_buffer (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, "GstFaceMeta");
  const GValue *faces;
  guint i;

  if (meta == NULL)
    return GST_PAD_PROBE_OK;    /* no onnxfacedetect upstream, or something dropped it */
  faces = gst_structure_get_value (gst_custom_meta_get_structure (meta), "faces");
  if (faces == NULL || !GST_VALUE_HOLDS_ARRAY (faces))
    return GST_PAD_PROBE_OK;
  for (i = 0; i < gst_value_array_get_size (faces); i++) {
    const GValue *face = gst_value_array_get_value (faces, i);
    if (GST_VALUE_HOLDS_STRUCTURE (face))
      print_face (gst_value_get_structure (face), GST_BUFFER_PTS (buffer));
  }
  return GST_PAD_PROBE_OK;
}

/* Handles messages until the end; 0 if it was the end of the stream. */
static int
run (GstElement * pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  int result = -1;

  while (result < 0) {
    GstMessage *message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
        GST_MESSAGE_ELEMENT | GST_MESSAGE_EOS | GST_MESSAGE_ERROR);

    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      GError *error = NULL;
      gst_message_parse_error (message, &error, NULL);
      g_printerr ("error: %s\n", error->message);
      g_error_free (error);
      result = 1;
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS) {
      result = 0;
    } else if (gst_message_has_name (message, "face-alert")) {
      const GstStructure *alert = gst_message_get_structure (message);
      const gchar *name = gst_structure_get_string (alert, "name");
      g_print ("alert: %s %s\n", gst_structure_get_string (alert, "event"), name ? name : "");
    }
    gst_message_unref (message);
  }
  gst_object_unref (bus);
  return result;
}

int
main (int argc, char **argv)
{
  GstElement *pipeline, *element;
  GstPad *pad;
  GError *error = NULL;
  int result;

  gst_init (&argc, &argv);
  if (argc != 3) {
    g_printerr ("usage: names VIDEO GALLERY\n");
    return 2;
  }
  pipeline = gst_parse_launch ("filesrc name=video ! decodebin ! videoconvert ! onnxfacedetect "
      "! queue max-size-buffers=2 max-size-bytes=0 max-size-time=0 ! facetrack "
      "! facerecognize name=names ! fakesink name=end", &error);
  if (error != NULL) {          /* also for an element that is not there */
    g_printerr ("error: %s\n", error->message);
    return 1;
  }
  /* Names of files are set as properties: in the description they would need quotes. */
  element = gst_bin_get_by_name (GST_BIN (pipeline), "video");
  g_object_set (element, "location", argv[1], NULL);
  gst_object_unref (element);
  element = gst_bin_get_by_name (GST_BIN (pipeline), "names");
  g_object_set (element, "gallery", argv[2], NULL);
  gst_object_unref (element);

  printed = g_hash_table_new_full (NULL, NULL, NULL, g_free);
  element = gst_bin_get_by_name (GST_BIN (pipeline), "end");
  pad = gst_element_get_static_pad (element, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_buffer, NULL, NULL);
  gst_object_unref (pad);
  gst_object_unref (element);

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  result = run (pipeline);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  g_hash_table_destroy (printed);
  return result;
}
