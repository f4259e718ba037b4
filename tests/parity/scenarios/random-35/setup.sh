ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -t 192.0.2.10:443 -s sed
ipvsadm -a -t 192.0.2.10:443 -r 198.51.100.15:8080 -m -w 2
