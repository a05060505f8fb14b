nvmmio_SOURCES = file_system.cc files.cc register.cc settings.cc statistics.cc status.cc
nvmmio_HEADERS = nvmmio_rocksdb.h
nvmmio_FUNC = nvmmio_rocksdb_plugin
